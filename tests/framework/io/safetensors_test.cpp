#include "framework/io/safetensors.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

namespace fs = std::filesystem;

class SafeTensors : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              ("strata_safetensors_" + std::to_string(::getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
    path_ = (folder_ / "x.safetensors").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write_raw(const std::string& header, const std::string& data,
                 std::int64_t header_size = -1) {
    std::ofstream file(path_, std::ios::binary);
    const std::uint64_t size = header_size < 0 ? header.size() : header_size;
    file.write(reinterpret_cast<const char*>(&size), 8);
    file << header << data;
  }
  std::string message() {
    try {
      read_safetensors(path_);
    } catch (const CheckpointError& error) {
      return std::string(error.what()).substr(path_.size());
    }
    return "read without an error";
  }

  fs::path folder_;
  std::string path_;
};

TEST_F(SafeTensors, RoundTripKeepsNamesTypesShapesAndMetadata) {
  const TensorMap written{{"b.weight", at::randn({3, 4, 5})},
                          {"counter", at::tensor(std::vector<std::int64_t>{7}).squeeze()},
                          {"mask", at::tensor(std::vector<std::uint8_t>{1, 2, 3})},
                          {"half", at::randn({2, 2}).to(at::kHalf)},
                          {"empty", at::empty({0, 4}, at::kDouble)}};
  write_safetensors(path_, written, {{"format", "pt"}});
  const TensorFile file = read_safetensors(path_);
  EXPECT_EQ(file.metadata.at("format"), "pt");
  ASSERT_EQ(file.tensors.size(), written.size());
  for (const auto& [name, tensor] : written) {
    const at::Tensor& read = get(file.tensors, name);
    EXPECT_EQ(read.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(read, tensor)) << name;
  }
}

TEST_F(SafeTensors, StoresRowMajorWhateverTheLayout) {
  const at::Tensor tensor = at::randn({2, 3, 4, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  write_safetensors(path_, {{"x", tensor}});
  const TensorFile file = read_safetensors(path_);
  EXPECT_TRUE(at::equal(file.tensors.front().second, tensor));
  EXPECT_TRUE(file.tensors.front().second.is_contiguous());
}

TEST_F(SafeTensors, ChangingALoadedTensorLeavesTheFileAlone) {
  write_safetensors(path_, {{"x", at::ones({4})}});
  TensorFile file = read_safetensors(path_);
  file.tensors.front().second.zero_();
  EXPECT_TRUE(at::equal(read_safetensors(path_).tensors.front().second, at::ones({4})));
}

TEST_F(SafeTensors, RefusesWhatIsDamaged) {
  const std::string one = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  write_raw(one, std::string(8, 'a'));
  EXPECT_EQ(message(), "read without an error");

  write_raw("", "", 0);
  EXPECT_EQ(message(), ": the header is not a JSON object");
  write_raw(one, "", 1 << 30);
  EXPECT_NE(message().find("it is truncated or not a safetensors file"), std::string::npos);
  write_raw(one, std::string(4, 'a'));
  EXPECT_EQ(message(),
            ": has 4 bytes of data, its header speaks of 8: it is truncated or damaged");
  write_raw(R"({"x":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", std::string(8, 'a'));
  EXPECT_EQ(message(), ": tensor \"x\": needs 12 bytes, its data_offsets are [0, 8]");
  write_raw(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", std::string(12, 'a'));
  EXPECT_EQ(message(), ": tensor \"x\" begins at 4, the one before ends at 0");
  write_raw(R"({"x":{"dtype":"Q7","shape":[2],"data_offsets":[0,8]}})", std::string(8, 'a'));
  EXPECT_EQ(message(), ": tensor \"x\": has an unsupported dtype, got \"Q7\"");
  write_raw(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
            std::string(8, 'a'));
  EXPECT_EQ(message(), ": tensor \"x\": has an impossible shape");
  write_raw(R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", std::string(8, 'a'));
  EXPECT_EQ(message(), ": tensor \"x\": has a shape that is not made of counts");
  write_raw(one.substr(0, one.size() - 1) + "," + one.substr(1), std::string(8, 'a'));
  EXPECT_EQ(message(), ": the header names \"x\" twice");
  fs::remove(path_);
  EXPECT_EQ(message(), ": cannot be opened: No such file or directory");
}

TEST_F(SafeTensors, AFailedWriteLeavesTheOldFile) {
  write_safetensors(path_, {{"x", at::ones({4})}});
  // The temporary file of the next write cannot be created where a folder has its name.
  fs::create_directory(path_ + ".partial");
  EXPECT_THROW(write_safetensors(path_, {{"x", at::zeros({4})}}), CheckpointError);
  EXPECT_TRUE(at::equal(read_safetensors(path_).tensors.front().second, at::ones({4})));
}

}  // namespace
}  // namespace strata::io
