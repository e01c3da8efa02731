// Mistakes planted in configs, one file each: `validate` says exactly what the first comment lines
// say, on stderr, and exits with 2 before anything is computed. A new case needs no C++:
//   # error: one line of the expected message; @PLUGINS@, @STRATA@, @LIBTORCH@, @COMPILER@, @CXX@,
//            @CXX11_ABI@, @CUDA@ and @BUILD@ stand for what this build is
//   # set: a.b=VALUE          an override
//   # env: NAME=VALUE         an environment variable
//   # args: --data            more arguments
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "framework/base/files.hpp"
#include "framework/base/version.hpp"
#include "registry/build_facts.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;

const char* const kFolder = STRATA_SOURCE_DIR "/tests/configs";
const char* const kPlugins = STRATA_BINARY_DIR "/tests/plugins";

struct Mistake {
  std::string expected;
  std::vector<std::string> overrides, environment, arguments;
};

std::string fill_in(std::string text) {
  const std::map<std::string, std::string> facts = {{"@PLUGINS@", fs::canonical(kPlugins).string()},
                                                    {"@STRATA@", std::string(version())},
                                                    {"@LIBTORCH@", std::string(libtorch_version())},
                                                    {"@COMPILER@", STRATA_BUILD_COMPILER},
                                                    {"@CXX@", STRATA_BUILD_CXX_STANDARD},
                                                    {"@CXX11_ABI@", STRATA_BUILD_CXX11_ABI},
                                                    {"@CUDA@", std::string(cuda_version())},
                                                    {"@BUILD@", std::string(build_type())}};
  for (const auto& [name, value] : facts) {
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name)) {
      text.replace(at, name.size(), value);
    }
  }
  return text;
}

Mistake read_mistake(const fs::path& path) {
  Mistake mistake;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line) && line.starts_with("# ");) {
    auto after = [&](const std::string& word) {
      return line.starts_with(word) ? line.substr(word.size()) : std::string();
    };
    if (line.starts_with("# error: ")) mistake.expected += fill_in(after("# error: ")) + "\n";
    if (line.starts_with("# set: ")) mistake.overrides.push_back(after("# set: "));
    if (line.starts_with("# env: ")) mistake.environment.push_back(after("# env: "));
    if (line.starts_with("# args: ")) mistake.arguments.push_back(after("# args: "));
  }
  return mistake;
}

std::string quoted_for_shell(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::vector<std::string> planted() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".toml") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class PlantedMistake : public testing::TestWithParam<std::string> {};

TEST_P(PlantedMistake, AreSaidWordForWord) {
  const Mistake mistake = read_mistake(fs::path(kFolder) / GetParam());
  ASSERT_FALSE(mistake.expected.empty()) << "no `# error: ` line at the top of " << GetParam();
  const tests::TempDir folder;
  const std::string out = folder / "out", err = folder / "err";
  std::string command = "cd " + quoted_for_shell(kFolder) + " && env STRATA_PLUGIN_PATH=" +
                        quoted_for_shell(fs::canonical(kPlugins).string());
  for (const std::string& each : mistake.environment) command += " " + quoted_for_shell(each);
  command += " " + quoted_for_shell(STRATA_BINARY_DIR "/tools/validate") + " " + GetParam();
  for (const std::string& each : mistake.overrides) command += " --set " + quoted_for_shell(each);
  for (const std::string& each : mistake.arguments) command += " " + each;
  command += " >" + quoted_for_shell(out) + " 2>" + quoted_for_shell(err);

  const int status = std::system(command.c_str());
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_EQ(read_text(err), mistake.expected);
  EXPECT_EQ(read_text(out), "");
}

INSTANTIATE_TEST_SUITE_P(Configs, PlantedMistake, testing::ValuesIn(planted()),
                         [](const auto& mistake) { return fs::path(mistake.param).stem().string(); });

TEST(Mistakes, AreManyAndTheirBasesHaveNone) {
  EXPECT_GE(planted().size(), 40U);
  for (const char* base : {"fine.toml", "pair.toml"}) {
    const std::string command = quoted_for_shell(STRATA_BINARY_DIR "/tools/validate") + " " +
                                quoted_for_shell(kFolder + std::string("/_base_/") + base) +
                                " >/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0) << base;
  }
}

}  // namespace
}  // namespace strata
