// Reads the includes of every source: layers point one way (docs: CONTRIBUTING, "The ladder"), and
// the third-party headers that are expensive or shadow others stay where they belong.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace strata::tests {
namespace {

// A folder may include from the groups before its own, and from its own group without a circle.
const std::vector<std::vector<std::string>> kLadder = {
    {"framework/base"},
    {"framework/config"},
    {"registry"},
    {"framework/nn", "framework/ops", "framework/io", "framework/model"},
    {"losses", "modules", "backbones", "necks", "heads"},
    {"segmentors"},
    {"framework/data", "framework/metrics", "framework/optim", "framework/inference",
     "framework/distributed"},
    {"framework/engine"},
    {"framework/ablation"},
    {"tools", "plugins"},
};

struct Include {
  std::string file;    // relative to the top folder
  int line = 0;
  std::string target;  // as written
  bool quoted = false;
};

std::string folder_of(const std::string& file) {
  for (const auto& group : kLadder) {
    for (const auto& folder : group) {
      if (file.starts_with(folder + "/")) return folder;
    }
  }
  return {};
}

std::size_t level_of(const std::string& folder) {
  for (std::size_t level = 0; level < kLadder.size(); ++level) {
    if (std::ranges::find(kLadder[level], folder) != kLadder[level].end()) return level;
  }
  throw std::logic_error("not on the ladder: " + folder);
}

std::vector<std::string> files_with(const std::set<std::string>& extensions) {
  std::vector<std::string> files;
  const fs::path top = STRATA_SOURCE_DIR;
  for (const auto& group : kLadder) {
    for (const auto& folder : group) {
      if (!fs::exists(top / folder)) continue;
      for (const auto& entry : fs::recursive_directory_iterator(top / folder)) {
        if (extensions.contains(entry.path().extension().string())) {
          files.push_back(fs::relative(entry.path(), top).generic_string());
        }
      }
    }
  }
  std::ranges::sort(files);
  return files;
}

std::string read(const fs::path& path) {
  std::ifstream stream(path);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

const std::vector<Include>& includes() {
  static const std::vector<Include> all = [] {
    std::vector<Include> found;
    const std::regex pattern(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"].*)");
    for (const auto& file : files_with({".hpp", ".cpp", ".h", ".cuh", ".cu"})) {
      std::istringstream lines(read(fs::path(STRATA_SOURCE_DIR) / file));
      int number = 0;
      for (std::string line; std::getline(lines, line);) {
        ++number;
        std::smatch match;
        if (std::regex_match(line, match, pattern)) {
          found.push_back({file, number, match[2], match[1] == "\""});
        }
      }
    }
    return found;
  }();
  return all;
}

std::string at(const Include& include) {
  return include.file + ":" + std::to_string(include.line) + ": includes " + include.target;
}

bool torch_header(const std::string& target) {
  for (const char* prefix : {"torch/", "ATen/", "c10/", "caffe2/"}) {
    if (target.starts_with(prefix)) return true;
  }
  return false;
}

TEST(Layers, NoFolderIncludesFromItsRight) {
  for (const auto& include : includes()) {
    if (!include.quoted) continue;
    const std::string from = folder_of(include.file);
    const std::string to = folder_of(include.target);
    if (to.empty() || from == to) continue;
    EXPECT_LE(level_of(to), level_of(from)) << at(include);
    if (from == "tools" || from == "plugins") {
      EXPECT_LT(level_of(to), level_of(from)) << at(include);
    }
  }
}

TEST(Layers, NoCircleInsideAGroup) {
  std::map<std::string, std::map<std::string, std::string>> edges;  // from -> to -> example
  for (const auto& include : includes()) {
    const std::string from = folder_of(include.file);
    const std::string to = include.quoted ? folder_of(include.target) : std::string();
    if (!to.empty() && from != to && level_of(from) == level_of(to)) {
      edges[from].try_emplace(to, at(include));
    }
  }
  for (const auto& [start, unused] : edges) {
    std::set<std::string> seen;
    std::function<void(const std::string&)> walk = [&](const std::string& node) {
      for (const auto& [next, example] : edges[node]) {
        EXPECT_NE(next, start) << "circle through " << node << " (" << example << ")";
        if (next != start && seen.insert(next).second) walk(next);
      }
    };
    walk(start);
  }
}

TEST(Layers, OurHeadersAreSpelledFromTheTopFolder) {
  for (const auto& include : includes()) {
    if (!include.quoted) continue;
    const bool in_plugin = include.file.starts_with("plugins/");
    const bool found = fs::exists(fs::path(STRATA_SOURCE_DIR) / include.target) ||
                       (in_plugin && fs::exists((fs::path(STRATA_SOURCE_DIR) / include.file)
                                                    .parent_path() / include.target));
    EXPECT_TRUE(found) << at(include) << ", which is no file of the project";
  }
}

TEST(Layers, BaseConfigAndRegistryKnowNoTorchAndNoOpenCv) {
  for (const auto& include : includes()) {
    if (level_of(folder_of(include.file)) > level_of("registry")) continue;
    EXPECT_FALSE(torch_header(include.target)) << at(include);
    EXPECT_FALSE(include.target.starts_with("opencv2/")) << at(include);
  }
}

TEST(Layers, ExpensiveHeadersStayWhereTheyBelong) {
  std::set<std::string> toml;
  std::set<std::string> boost_dll;
  std::set<std::string> network;
  for (const auto& include : includes()) {
    if (include.target.starts_with("toml++")) toml.insert(include.file);
    if (include.target.starts_with("boost/dll")) boost_dll.insert(include.file);
    if (include.target.starts_with("curl/")) network.insert(include.file);
    EXPECT_FALSE(include.target.starts_with("boost/") && !include.file.starts_with("registry/"))
        << at(include);
    EXPECT_NE(include.target, "torch/torch.h") << at(include) << "; include what is used";
    if (include.file.ends_with(".hpp")) {
      EXPECT_FALSE(include.target.starts_with("opencv2/")) << at(include) << " in a header";
    }
  }
  EXPECT_LE(toml.size(), 1U) << testing::PrintToString(toml);
  EXPECT_LE(boost_dll.size(), 1U) << testing::PrintToString(boost_dll);
  EXPECT_LE(network.size(), 1U) << testing::PrintToString(network);
}

// The CMake lists are the list of components: a file left out would vanish without a word.
TEST(Layers, EverySourceIsListedInItsFolder) {
  for (const auto& file : files_with({".cpp"})) {
    fs::path folder = (fs::path(STRATA_SOURCE_DIR) / file).parent_path();
    while (!fs::exists(folder / "CMakeLists.txt")) folder = folder.parent_path();
    const std::string name =
        fs::relative(fs::path(STRATA_SOURCE_DIR) / file, folder).generic_string();
    std::string list = read(folder / "CMakeLists.txt");
    const bool tool = list.find("strata_tool(" + name.substr(0, name.size() - 4) + " ") !=
                      std::string::npos;
    EXPECT_TRUE(tool || list.find(name) != std::string::npos)
        << file << " is in no list of " << fs::relative(folder, STRATA_SOURCE_DIR).generic_string()
        << "/CMakeLists.txt";
  }
}

}  // namespace
}  // namespace strata::tests
