#include "framework/base/files.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "framework/base/crc32c.hpp"
#include "framework/base/error.hpp"
#include "framework/base/json.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_ = fs::temp_directory_path() / ("strata_files_" + std::to_string(::getpid()));
};

// What has no end would be read for ever.
TEST_F(Files, ReadsRegularFilesOnly) {
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  for (const std::string& path : {std::string("/dev/zero"), pipe, folder_.string()}) {
    try {
      read_text(path);
      ADD_FAILURE() << path;
    } catch (const UserError& error) {
      EXPECT_EQ(error.what(),
                path + ": cannot be read: is not a regular file; give the path of one");
    }
  }
  EXPECT_FALSE(read_text("/proc/self/status").empty());
}

// RFC 3720, appendix B.4.
TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c("", 0), 0U);
  EXPECT_EQ(crc32c("123456789", 9), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0').data(), 32), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xff').data(), 32), 0x62A8AB43U);
}

TEST(Crc32c, ContinuesAnywhere) {
  const std::string text = "The quick brown fox jumps over the lazy dog, twice.";
  const std::uint32_t whole = crc32c(text.data(), text.size());
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    const std::uint32_t first = crc32c(text.data(), cut);
    EXPECT_EQ(crc32c(text.data() + cut, text.size() - cut, first), whole) << cut;
  }
}

TEST_F(Files, WriteThenRead) {
  const std::string path = folder_ / "a.txt";
  write_text(path, "first");
  write_text(path, std::string("second\0line", 11));
  EXPECT_EQ(read_text(path), std::string("second\0line", 11));
  EXPECT_EQ(sum_of(path).size, 11U);
  EXPECT_EQ(sum_of(path).crc, crc32c("second\0line", 11));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(Files, AFailedWriteKeepsTheOldFile) {
  const std::string path = folder_ / "a.txt";
  write_text(path, "old");
  // Where the text should go first there is something else in the way.
  fs::create_directory(path + ".partial");
  EXPECT_THROW(write_text(path, "new"), UserError);
  EXPECT_EQ(read_text(path), "old");
}

// A limit on the size of files stands for a full disk: both fail in the middle of writing.
TEST_F(Files, ADiskThatFillsKeepsTheOldFile) {
  const std::string path = folder_ / "a.txt";
  write_text(path, "old");
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string what;
  try {
    write_text(path, std::string(100000, 'x'));
  } catch (const UserError& error) {
    what = error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(what, path + ".partial: cannot be written: File too large");
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(Files, APartialFileGrowsOverSeveralRuns) {
  const std::string path = folder_ / "a.bin", partial = path + ".partial";
  const auto alone = [] { FAIL() << "nobody else has it"; };
  PartialFile(partial, alone).append("ab", 2);
  EXPECT_FALSE(fs::exists(path));
  {
    PartialFile file(partial, alone);
    EXPECT_EQ(file.size(), 2u);
    file.append("cd", 2);
    file.become(path);
  }
  EXPECT_EQ(read_text(path), "abcd");
  EXPECT_FALSE(fs::exists(partial));
  PartialFile again(partial, alone);
  again.append("x", 1);
  again.clear();
  EXPECT_EQ(again.size(), 0u);
  again.remove();
  EXPECT_FALSE(fs::exists(partial));
  EXPECT_THROW(PartialFile(folder_ / "none" / "a", alone), UserError);
}

TEST_F(Files, ASecondWriterOfAPartialFileWaits) {
  const std::string path = folder_ / "a.bin", partial = path + ".partial";
  auto first = std::make_unique<PartialFile>(partial, [] {});
  first->append("ab", 2);
  std::promise<void> waits;
  std::thread second([&] {
    PartialFile file(partial, [&] { waits.set_value(); });
    EXPECT_EQ(file.size(), 0u);  // the first one's has its place by now
    EXPECT_EQ(read_text(path), "ab");
    file.remove();
  });
  waits.get_future().wait();
  first->become(path);
  first.reset();
  second.join();
}

TEST_F(Files, ErrorsNamePathAndReason) {
  try {
    read_text(folder_ / "none.txt");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              (folder_ / "none.txt").string() + ": cannot be read: No such file or directory");
  }
  write_text(folder_ / "file", "");
  try {
    make_folder(folder_ / "file" / "below");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              (folder_ / "file" / "below").string() + ": cannot be created: Not a directory");
  }
}

TEST_F(Files, Json) {
  const std::string path = folder_ / "a.json";
  write_json(path, Json{{"z", 1}, {"a", {1.5, nullptr}}});
  EXPECT_EQ(read_json(path).dump(), "{\"z\":1,\"a\":[1.5,null]}");
  write_text(path, "{\"a\": }");
  try {
    read_json(path);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_EQ(std::string(error.what()), path + ": not valid JSON at byte 7");
  }
}

}  // namespace
}  // namespace strata
