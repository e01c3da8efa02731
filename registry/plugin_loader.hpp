// Plugins: shared libraries that add components. A library is looked at before it is run, compared
// with this program part by part, and its components come in all together or not at all.
#pragma once

#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"

namespace strata {

class Registry;

struct LoadedPlugin {
  std::string path;  // canonical
  std::string name, version, licence;
};

/// The file that a config means by "x": `x`, `x.so` or `libx.so` from the folder of the config
/// file, else from each folder of STRATA_PLUGIN_PATH (separated by ':'). The working directory is
/// searched only for what was given with --set. Throws PluginError with every place tried.
STRATA_API std::string find_plugin(const config::Path& path);

/// Loads the library at `path` and adds its components to `registry`; nothing happens when they
/// are there already, whatever path led to the same file. The library stays loaded until the
/// program ends, because objects made by it may live that long. Throws PluginError naming the file.
STRATA_API LoadedPlugin load_plugin(const std::string& path, Registry& registry);

/// find_plugin, then load_plugin.
STRATA_API LoadedPlugin load_plugin(const config::Path& path, Registry& registry);

}  // namespace strata
