#include "tools/convert/convert_config.hpp"

#include <cstdio>
#include <set>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "tools/convert/changemask.hpp"
#include "tools/convert/conversion.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

using convert::Conversion;
using convert::Json;

/// What is left at the top of a dump.
void convert_rest(Conversion& c, const std::string& key, const Json& value) {
  static const std::set<std::string> kMachinery = {"default_scope", "env_cfg",       "vis_backends",
                                                   "visualizer",    "log_processor", "log_level",
                                                   "launcher",      "val_cfg",       "test_cfg"};
  if (value.is_null() || (value.is_object() && value.empty())) return;
  if (key == "load_from") {
    c.weights(value, key, "");
  } else if (key == "work_dir") {
    c.runtime.set("work_dir", convert::value_of(value));
  } else if (key == "randomness") {
    if (value.contains("seed") && value["seed"].is_number())
      c.runtime.set("seed", convert::value_of(value["seed"]));
  } else if (key == "resume") {
    if (value == true) c.lose(key, "resume with `train --resume`");
  } else if (key == "custom_imports") {
    c.lose(key, "plugins: what it imports has to be written as one");
  } else if (kMachinery.count(key) > 0) {
    if (key != "val_cfg" && key != "test_cfg") c.drop(key, "machinery of mmengine");
  } else {
    c.drop(key, "a variable of the Python file: its uses are resolved in the dump");
  }
}

ConvertedConfig convert_dump(const Json& dump, const Registry& registry) {
  Conversion c(dump, registry);
  config::Table root;
  convert::convert_length(c);
  root.set("model", config::Value{convert::convert_model(c)});
  root.set("data", config::Value{convert::convert_data(c)});
  convert::convert_optimization(c, root);
  convert::convert_hooks(c);
  convert::convert_evaluation(c);
  for (const auto& [key, value] : c.rest()) convert_rest(c, key, *value);
  // In the order in which people read a config.
  if (!c.freeze.empty()) root.set("freeze", config::Value{c.freeze});
  for (const auto& [name, table] : {std::pair{"init", &c.init},
                                    {"train", &c.train},
                                    {"evaluate", &c.evaluate},
                                    {"hooks", &c.hooks},
                                    {"runtime", &c.runtime},
                                    {"vars", &c.vars}}) {
    if (!table->empty()) root.set(name, config::Value{*table});
  }
  c.out.toml = config::to_toml(config::Value{std::move(root)});
  return std::move(c.out);
}

}  // namespace

ConvertedConfig convert_config(const std::string& text, const std::string& name,
                               const Registry& registry) {
  if (is_changemask_config(text)) return convert_changemask(text, name);
  const Json dump = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!dump.is_object() || !dump.contains("model") || !dump["model"].is_object()) {
    throw UserError(name +
                    ": is no dumped config: JSON of an object with \"model\" is expected; "
                    "json.dump(config.to_dict(), file) in Python writes one");
  }
  try {
    return convert_dump(dump, registry);
  } catch (const Json::exception& error) {
    throw UserError(name + ": a value is of another type than in mmseg's configs: " + error.what());
  } catch (const UserError& error) {
    throw UserError(name + ": " + error.what());
  }
}

void convert_config_file(const std::string& in, const std::string& out) {
  const ConvertedConfig converted = convert_config(read_text(in), in, *components());
  std::string head = "# Converted from " + in.substr(in.rfind('/') + 1) + "\n";
  for (const auto& [path, why] : converted.lost) {
    head += "# not carried over: " + path + ": " + why + "\n";
  }
  write_text(out, head + "\n" + converted.toml);
  std::printf("%s: check it with `validate %s`; paths in it count from its folder\n", out.c_str(),
              out.c_str());
  for (const auto& [title, entries] : {std::pair{"not carried over", &converted.lost},
                                       std::pair{"not needed here", &converted.not_needed}}) {
    if (entries->empty()) continue;
    std::printf("\n%s\n", title);
    for (const auto& [path, why] : *entries) std::printf("  %s: %s\n", path.c_str(), why.c_str());
  }
}

}  // namespace strata::tools
