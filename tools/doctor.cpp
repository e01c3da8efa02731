// doctor: what this program is made of, what it finds on this machine, and the command for what is
// missing.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <dlfcn.h>
#include <sys/sysinfo.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "framework/base/version.hpp"
#include "framework/ops/device.hpp"
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

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string memory() {
  struct sysinfo info {};
  ::sysinfo(&info);
  return std::to_string((info.totalram * info.mem_unit) >> 20) + " MiB";
}

/// The LibTorch that was really loaded: the one that was built against, or another by mistake.
std::string libtorch_file() {
  Dl_info info{};
  // Any function of libtorch_cpu will do.
  if (::dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0) return "?";
  return info.dli_fname;
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

std::string cuda() {
  if (cuda_version() == "cpu") {
    return "not in this build; with a CUDA toolkit: cmake --preset cuda && cmake --build build-cuda";
  }
  const int count = ops::gpu_count();
  return std::string(cuda_version()) + ", " +
         (count == 0 ? std::string("no GPU that the driver shows") : std::to_string(count) + " GPU");
}

}  // namespace

int run_doctor(int argc, char** argv) {
  CLI::App app("Shows versions, devices and plugins, and what is missing.", "doctor");
  bool verbose = false;
  app.add_flag("--verbose", verbose, "also LibTorch's own build settings");
  return run_tool(app, argc, argv, [&] {
    row("strata", std::string(version()) + " (" + std::string(build_type()) + ")");
    row("libtorch", std::string(libtorch_version()) + ", " + libtorch_file());
    row("processor", processor());
    row("threads", std::to_string(at::get_num_threads()) + " compute");
    row("memory", memory());
    row("cuda", cuda());
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
