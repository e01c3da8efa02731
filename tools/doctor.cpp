// doctor: what this program is made of, what it finds on this machine, and the command for what is
// missing.
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "framework/base/version.hpp"
#include "framework/engine/environment.hpp"
#include "framework/io/pretrained.hpp"
#include "registry/builtin.hpp"
#include "registry/plugin_loader.hpp"
#include "registry/registry.hpp"
#include "tools/common.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

void row(const char* name, const std::string& value) {
  std::printf("%-12s %s\n", name, value.c_str());
}

/// Every library in the folders of STRATA_PLUGIN_PATH, and whether it would load.
int list_plugins() {
  const char* path = std::getenv("STRATA_PLUGIN_PATH");
  if (path == nullptr || *path == '\0') {
    row("plugins", "STRATA_PLUGIN_PATH is not set");
    return 0;
  }
  int broken = 0;
  std::string folders = path;
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const fs::path folder = folders.substr(begin, end - begin);
    begin = end + 1;
    if (folder.empty()) continue;
    if (!fs::is_directory(folder)) {
      row("plugins", folder.string() + ": no such folder (in STRATA_PLUGIN_PATH)");
      ++broken;
      continue;
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".so") continue;
      Registry registry;
      try {
        const LoadedPlugin plugin = load_plugin(entry.path().string(), registry);
        row("plugin", plugin.path + ": " + plugin.name + " " + plugin.version);
      } catch (const PluginError& error) {
        row("plugin", error.what());
        ++broken;
      }
    }
  }
  return broken;
}

}  // namespace

int run_doctor(int argc, char** argv) {
  CLI::App app("Shows versions, devices and plugins, and what is missing.", "doctor");
  bool verbose = false;
  app.add_flag("--verbose", verbose, "also LibTorch's own build settings");
  return run_tool(app, argc, argv, [&] {
    row("strata", std::string(version()) + " (" + std::string(build_type()) + ")");
    row("libtorch", std::string(libtorch_version()) + ", " + engine::libtorch_file());
    row("processor", engine::processor_name());
    row("threads", std::to_string(at::get_num_threads()) + " compute");
    row("memory", engine::memory_size());
    row("cuda", engine::cuda_text());
    row("weights", io::weights_cache());
    const int broken = list_plugins();
    if (verbose) std::printf("\n%s", at::show_config().c_str());
    if (broken > 0) {
      std::printf("\n%d plugin problem%s above; a plugin is rebuilt with: cmake --build its build "
                  "folder\n",
                  broken, broken == 1 ? "" : "s");
      return kUserError;
    }
    return kOk;
  });
}

}  // namespace strata::tools
