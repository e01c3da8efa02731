// Loading plugins, good ones and every kind of bad one; each message in full.
#include "registry/plugin_loader.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "framework/base/error.hpp"
#include "framework/base/version.hpp"
#include "framework/config/config.hpp"
#include "registry/build_facts.hpp"
#include "registry/plugin_abi.h"
#include "tests/plugins/part.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;
using tests::Part;

std::string plugin(const std::string& name) {
  return fs::canonical(fs::path(STRATA_TEST_PLUGINS) / (name + ".so")).string();
}

class PluginTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  std::string failure(const std::string& path) {
    try {
      load_plugin(path, registry_);
    } catch (const PluginError& error) {
      return error.what();
    }
    return "loaded";
  }

  Registry registry_;
  fs::path folder_ = fs::canonical(fs::temp_directory_path()) /
                     ("strata_plugin_test_" + std::to_string(::getpid()));
};

TEST_F(PluginTest, ItsComponentsAreLikeBuiltIns) {
  const LoadedPlugin loaded = load_plugin(plugin("good"), registry_);
  EXPECT_EQ(loaded.name, "good");
  EXPECT_EQ(loaded.version, "2.1");
  EXPECT_EQ(loaded.licence, "MIT");
  EXPECT_EQ(registry_.names("part"), (std::vector<std::string>{"Bolt", "Nut"}));
  EXPECT_EQ(registry_.find("part", "Bolt")->origin, plugin("good"));

  config::Document document = config::load_text("type = \"Bolt\"\nsize = 8\n", "c.toml");
  config::Binder binder(registry_);
  Slot<Part> slot;
  config::Codec<Slot<Part>>::parse(document.root, slot, binder, {});
  EXPECT_TRUE(binder.problems.empty());
  EXPECT_EQ(slot.build({"M"})->name(), "M8");
}

TEST_F(PluginTest, TheSameFileByAnotherPathIsLoadedOnce) {
  load_plugin(plugin("good"), registry_);
  fs::create_symlink(plugin("good"), folder_ / "link.so");
  load_plugin((folder_ / "link.so").string(), registry_);
  EXPECT_EQ(registry_.names("part").size(), 2U);
  Registry other;  // another registry gets its own entries
  load_plugin(plugin("good"), other);
  EXPECT_EQ(other.names("part").size(), 2U);
}

TEST_F(PluginTest, AnotherBuildIsRefusedWithEveryDifference) {
  const std::string path = plugin("bad_abi");
  EXPECT_EQ(failure(path), path + ": was built differently: strata 0.0.9, this program has " +
                               std::string(version()) + "; LibTorch 1.13.1, this program has " +
                               std::string(libtorch_version()) +
                               "; compiler gcc 4, this program has " STRATA_BUILD_COMPILER
                               "; C++ standard 201703L, this program has " STRATA_BUILD_CXX_STANDARD
                               "; C++11 ABI 0, this program has " STRATA_BUILD_CXX11_ABI
                               "; CUDA 9.2, this program has " +
                               std::string(cuda_version()) +
                               "; build type debug of long ago, this program has " +
                               std::string(build_type()) +
                               "; build it again with strata_add_plugin against this strata");
  EXPECT_TRUE(registry_.kinds().empty());
}

TEST_F(PluginTest, AnotherInterfaceIsRefused) {
  const std::string path = plugin("bad_interface");
  EXPECT_EQ(failure(path),
            path + ": plugin interface 0 (16 bytes), this program has 1 (" +
                std::to_string(sizeof(strata_plugin_info_t)) +
                " bytes); build it again with strata_add_plugin against this strata");
  EXPECT_EQ(failure(plugin("bad_silent")),
            plugin("bad_silent") +
                ": says nothing about itself; build it again with strata_add_plugin against this "
                "strata");
}

TEST_F(PluginTest, WhatFailsHalfwayLeavesNothing) {
  EXPECT_EQ(failure(plugin("bad_throws")),
            plugin("bad_throws") + ": registering its components failed: the driver is missing");
  EXPECT_TRUE(registry_.kinds().empty());

  load_plugin(plugin("good"), registry_);
  EXPECT_EQ(failure(plugin("bad_name_taken")),
            plugin("bad_name_taken") + ": a part named \"Bolt\" is there already, from " +
                plugin("good") + "; rename or leave out one of them");
  EXPECT_EQ(registry_.names("part"), (std::vector<std::string>{"Bolt", "Nut"}));
}

TEST_F(PluginTest, FilesThatAreNoPlugins) {
  EXPECT_EQ(failure(plugin("bad_no_symbol")),
            plugin("bad_no_symbol") +
                ": is no strata plugin: it does not export strata_plugin_info; build it with "
                "strata_add_plugin");
  EXPECT_EQ(failure(plugin("bad_undefined")),
            plugin("bad_undefined") +
                ": cannot be loaded: undefined symbol: strata_test_function_that_nobody_defines");
  EXPECT_EQ(failure((folder_ / "none.so").string()),
            (folder_ / "none.so").string() + ": no such file");
  EXPECT_EQ(failure(folder_.string()), folder_.string() + ": is not a file");
  std::ofstream(folder_ / "text.so") << "#!/bin/sh\n" << std::string(1000, 'x');
  EXPECT_EQ(failure((folder_ / "text.so").string()),
            (folder_ / "text.so").string() + ": is no shared library; build or copy it again");
}

// The system's loader answers a library that is cut short with a bus error: it must not get there.
TEST_F(PluginTest, ATruncatedLibraryIsRefusedAtAnyLength) {
  const fs::path copy = folder_ / "cut.so";
  const auto whole = fs::file_size(plugin("good"));
  for (const double share : {0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99}) {
    fs::copy_file(plugin("good"), copy, fs::copy_options::overwrite_existing);
    fs::resize_file(copy, static_cast<std::uintmax_t>(share * static_cast<double>(whole)));
    EXPECT_EQ(failure(copy.string()), copy.string() + ": is cut short; build or copy it again")
        << share;
  }
}

TEST_F(PluginTest, IsFoundFromTheConfigFileOrThePluginPath) {
  fs::create_directories(folder_ / "configs");
  fs::create_directories(folder_ / "more");
  fs::copy_file(plugin("good"), folder_ / "libbesides.so");
  fs::copy_file(plugin("good"), folder_ / "more/far.so");
  auto path = [&](const std::string& text) {
    return config::Path{text, (folder_ / "configs" / text).lexically_normal().string()};
  };
  ::unsetenv("STRATA_PLUGIN_PATH");
  EXPECT_EQ(find_plugin(path("../besides")), (folder_ / "libbesides.so").string());
  const std::string at = (folder_ / "configs/").string();
  try {
    find_plugin(path("far"));
    FAIL();
  } catch (const PluginError& error) {
    EXPECT_EQ(std::string(error.what()),
              "far: no such plugin, looked for " + at + "far, " + at + "far.so, " + at +
                  "libfar.so; more folders can be named in STRATA_PLUGIN_PATH");
  }
  ::setenv("STRATA_PLUGIN_PATH", ("/nowhere:" + (folder_ / "more").string()).c_str(), 1);
  EXPECT_EQ(find_plugin(path("far")), (folder_ / "more/far.so").string());
  // Never from the working directory.
  const fs::path before = fs::current_path();
  fs::current_path(folder_ / "more");
  ::unsetenv("STRATA_PLUGIN_PATH");
  EXPECT_THROW(find_plugin(path("far")), PluginError);
  fs::current_path(before);
}

}  // namespace
}  // namespace strata
