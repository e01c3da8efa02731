// From a dumped MMSegmentation or Open-CD config, or ChangeMask's config.json, to one of ours.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "registry/registry.hpp"

namespace strata::tools {

struct ConvertedConfig {
  std::string toml;
  /// Dotted path in the dump and why it has no counterpart: what is lost, and what nothing depends
  /// on here.
  std::vector<std::pair<std::string, std::string>> lost, not_needed;
};

/// Translates the JSON of a resolved config (mmengine's Config.to_dict()), for the components that
/// `registry` knows, or torchange's ChangeMask (changemask.hpp). What cannot be carried over is listed; the rest binds. Throws UserError for
/// text that is no such dump; `name` is its file.
ConvertedConfig convert_config(const std::string& text, const std::string& name,
                               const Registry& registry);

/// The same from file to file, with the lists on stdout and what is lost in the file's head.
void convert_config_file(const std::string& in, const std::string& out);

}  // namespace strata::tools
