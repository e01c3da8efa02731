#include "framework/engine/environment.hpp"

#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <fmt/chrono.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/base/version.hpp"
#include "framework/ops/device.hpp"

namespace strata::engine {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string memory_size() {
  struct sysinfo info {};
  ::sysinfo(&info);
  return std::to_string((info.totalram * info.mem_unit) >> 20) + " MiB";
}

std::string libtorch_file() {
  Dl_info info{};
  // Any function of libtorch_cpu will do.
  if (::dladdr(reinterpret_cast<void*>(&at::get_num_threads), &info) == 0) return "?";
  return info.dli_fname;
}

std::string cuda_text() {
  if (cuda_version() == "cpu") {
    return "not in this build; with a CUDA toolkit: cmake --preset cuda && cmake --build "
           "build-cuda";
  }
  const int count = ops::gpu_count();
  return std::string(cuda_version()) + ", " +
         (count == 0 ? std::string("no GPU that the driver shows")
                     : std::to_string(count) + " GPU");
}

namespace {

/// As typed, but for quotes.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  std::string out = text.str();
  while (!out.empty() && out.back() == '\0') out.pop_back();
  for (char& c : out) {
    if (c == '\0') c = ' ';
  }
  return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> environment() {
  utsname system{};
  ::uname(&system);
  std::error_code ignored;
  return {{"strata", std::string(version()) + " (" + std::string(build_type()) + ")"},
          {"libtorch", std::string(libtorch_version())},
          {"system", std::string(system.sysname) + " " + system.release + " on " + system.nodename},
          {"processor", processor_name()},
          {"compute threads", std::to_string(at::get_num_threads())},
          {"memory", memory_size()},
          {"cuda", cuda_version() == "cpu" ? "not in this build" : cuda_text()},
          {"command", command_line()},
          {"folder", std::filesystem::current_path(ignored).string()},
          {"started", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)))}};
}

std::string environment_json() {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : environment()) json[name] = value;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace strata::engine
