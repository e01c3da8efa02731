#include "registry/plugin_loader.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#ifndef BOOST_DLL_USE_STD_FS
#define BOOST_DLL_USE_STD_FS
#endif
#include <boost/dll/shared_library.hpp>

#include "framework/base/error.hpp"
#include "framework/base/log.hpp"
#include "framework/base/version.hpp"
#include "registry/build_facts.hpp"
#include "registry/elf_file.hpp"
#include "registry/plugin_abi.h"
#include "registry/registry.hpp"

namespace strata {

namespace fs = std::filesystem;

namespace {

// Libraries of this process by device and inode; never unloaded, hence never destroyed either.
struct Library {
  boost::dll::shared_library handle;
  const strata_plugin_info_t* info = nullptr;
  bool is_logged = false;
};
std::map<std::string, Library>& libraries() {
  static auto* all = new std::map<std::string, Library>;
  return *all;
}
std::mutex libraries_mutex;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw PluginError(path + ": " + what);
}

std::string text_or(const char* text) { return text == nullptr ? "nothing" : text; }

// Every part in which plugin and program were built differently, with both values.
std::vector<std::string> differences(const strata_plugin_info_t& plugin) {
  std::vector<std::string> out;
  auto compare = [&](const char* what, const std::string& theirs, std::string_view ours) {
    if (theirs == ours) return;
    out.push_back(std::string(what) + " " + theirs + ", this program has " + std::string(ours));
  };
  compare("strata", text_or(plugin.strata), version());
  if (text_or(plugin.libtorch) != "none") {  // a plugin without LibTorch fits any
    compare("LibTorch", text_or(plugin.libtorch), libtorch_version());
  }
  compare("compiler", text_or(plugin.compiler), STRATA_BUILD_COMPILER);
  compare("C++ standard", text_or(plugin.cxx_standard), STRATA_BUILD_CXX_STANDARD);
  compare("C++11 ABI", text_or(plugin.cxx11_abi), STRATA_BUILD_CXX11_ABI);
  if (text_or(plugin.cuda) != "cpu") {  // a plugin without CUDA fits any
    compare("CUDA", text_or(plugin.cuda), cuda_version());
  }
  compare("build type", text_or(plugin.build_type), build_type());
  return out;
}

void check_info(const std::string& path, const strata_plugin_info_t* info) {
  const std::string cure = "; build it again with strata_add_plugin against this strata";
  if (info == nullptr) fail(path, "says nothing about itself" + cure);
  // Only the first two fields are sure to be there when the interface is another one.
  if (info->struct_size < sizeof(strata_plugin_info_t) || info->api != STRATA_PLUGIN_API) {
    fail(path, "plugin interface " + std::to_string(info->api) + " (" +
                   std::to_string(info->struct_size) + " bytes), this program has " +
                   std::to_string(STRATA_PLUGIN_API) + " (" +
                   std::to_string(sizeof(strata_plugin_info_t)) + " bytes)" + cure);
  }
  std::string list;
  for (const std::string& each : differences(*info)) list += (list.empty() ? "" : "; ") + each;
  if (!list.empty()) fail(path, "was built differently: " + list + cure);
  if (info->register_components == nullptr) fail(path, "registers no components" + cure);
}

// Looks into the file without running any of its code.
void check_symbol(const std::string& path) {
  std::vector<std::string> symbols;
  try {
    symbols = exported_symbols(path);
  } catch (const std::exception& error) {
    fail(path, std::string(error.what()) + "; build or copy it again");
  }
  if (std::find(symbols.begin(), symbols.end(), STRATA_PLUGIN_SYMBOL) == symbols.end()) {
    fail(path, "is no strata plugin: it does not export " STRATA_PLUGIN_SYMBOL
               "; build it with strata_add_plugin");
  }
}

// The system loader's own words, without those that Boost puts around them.
std::string load_reason(const std::string& path, std::string what) {
  const std::string before = "dlerror system message: ";
  if (const auto at = what.find(before); at != std::string::npos) {
    what.erase(0, at + before.size());
    what.resize(std::min(what.size(), what.rfind("): ")));
  }
  if (what.starts_with(path + ": ")) what.erase(0, path.size() + 2);
  return what;
}

Library& open(const std::string& path) {
  struct ::stat status {};
  if (::stat(path.c_str(), &status) != 0) fail(path, "no such file");
  if (!fs::is_regular_file(path)) fail(path, "is not a file");
  const std::string key = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
  const auto found = libraries().find(key);
  if (found != libraries().end()) return found->second;

  check_symbol(path);
  Library library;
  try {
    library.handle.load(path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
  } catch (const std::exception& error) {
    fail(path, "cannot be loaded: " + load_reason(path, error.what()));
  }
  auto* info = library.handle.get<const strata_plugin_info_t*()>(STRATA_PLUGIN_SYMBOL);
  library.info = info();
  return libraries().emplace(key, std::move(library)).first->second;
}

}  // namespace

LoadedPlugin load_plugin(const std::string& path, Registry& registry) {
  const std::scoped_lock lock(libraries_mutex);
  std::error_code code;
  std::string real = fs::canonical(path, code).string();
  if (code) real = path;
  Library& library = open(real);
  const strata_plugin_info_t* info = library.info;
  check_info(real, info);
  LoadedPlugin loaded{real, text_or(info->name), text_or(info->version), text_or(info->licence)};
  if (registry.has_plugin(info)) return loaded;

  Registry staged;
  staged.set_origin(real);
  try {
    info->register_components(staged);
  } catch (const std::exception& error) {
    fail(real, "registering its components failed: " + std::string(error.what()));
  } catch (...) {
    fail(real, "registering its components failed with something that is no std::exception");
  }
  registry.merge(std::move(staged));
  registry.remember_plugin(info);
  if (!std::exchange(library.is_logged, true)) {
    log::info("plugin {} {} ({}) from {}", loaded.name, loaded.version, loaded.licence, real);
  }
  return loaded;
}

std::string find_plugin(const config::Path& path) {
  std::vector<fs::path> folders_and_names;
  const fs::path text(path.text);
  auto add = [&](const fs::path& base) {
    for (const fs::path& name : {text.filename(), fs::path(text.filename().string() + ".so"),
                                 fs::path("lib" + text.filename().string() + ".so")}) {
      folders_and_names.push_back((base / name).lexically_normal());
    }
  };
  add(fs::path(path.resolved).parent_path());
  if (const char* search = std::getenv("STRATA_PLUGIN_PATH"); search && text.is_relative()) {
    std::string folder;
    for (const char* c = search;; ++c) {
      if (*c != ':' && *c != 0) {
        folder += *c;
        continue;
      }
      if (!folder.empty()) add(fs::path(folder) / text.parent_path());
      folder.clear();
      if (*c == 0) break;
    }
  }
  std::string tried;
  for (const fs::path& candidate : folders_and_names) {
    std::error_code code;
    if (fs::is_regular_file(candidate, code)) return candidate.string();
    tried += (tried.empty() ? "" : ", ") + candidate.string();
  }
  const char* cure = std::getenv("STRATA_PLUGIN_PATH") == nullptr && text.is_relative()
                         ? "; more folders can be named in STRATA_PLUGIN_PATH"
                         : "";
  throw PluginError(path.text + ": no such plugin, looked for " + tried + cure);
}

LoadedPlugin load_plugin(const config::Path& path, Registry& registry) {
  return load_plugin(find_plugin(path), registry);
}

}  // namespace strata
