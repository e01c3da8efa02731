// What the parts of a config's conversion share: the dump, the registry, and what came of it so
// far.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "framework/config/schema.hpp"
#include "framework/config/value.hpp"
#include "registry/registry.hpp"
#include "tools/convert/convert_config.hpp"

namespace strata::tools::convert {

using Json = nlohmann::ordered_json;
using config::Array;
using config::Table;
using config::Value;

Value value_of(const Json& json);
Value text_value(std::string text);
/// An array of tables as it is, a table as an array of one, anything else as an empty array.
Json list_of(const Json& json);
/// "path" for a single table, "path.2" for the third one of an array.
std::string place_in(const Json& json, const std::string& path, std::size_t i);
/// Letters in lower case, anything that no bare key may hold as '_'.
std::string key_name(const std::string& text);
/// mmseg's "mIoU" as the score's name here; "" when it has none.
std::string score_name(const std::string& monitor);

class Conversion {
 public:
  Conversion(const Json& dump, const Registry& registry) : dump_(dump), registry_(registry) {}

  /// Not carried over, though it may matter; not needed here.
  void lose(const std::string& path, const std::string& why) { out.lost.emplace_back(path, why); }
  void drop(const std::string& path, const std::string& why) {
    out.not_needed.emplace_back(path, why);
  }
  /// A part at the top of the dump, which is then seen; null when there is none.
  const Json& part(const char* key);
  /// The parts that nobody asked for.
  std::vector<std::pair<std::string, const Json*>> rest() const;

  const Registry& registry() const { return registry_; }
  /// Null, and what is lost said, when there is no such component here.
  const config::Schema* schema_of(const std::string& kind, const std::string& type,
                                  const std::string& path);
  /// Sets a key if the component takes it with this value; says so otherwise.
  void set_checked(Table& table, const config::Schema& schema, const std::string& key, Value value,
                   const std::string& path);
  /// A component under its own name, its keys as they are but for those that `special` takes (which
  /// then returns true).
  using Special = std::function<bool(Table& table, const config::Schema& schema,
                                     const std::string& key, const Json& value)>;
  std::optional<Table> component(const std::string& kind, const std::string& type, const Json& json,
                                 const std::string& path, const Special& special = {});
  /// Where weights come from: init_cfg, pretrained, load_from. `part`: the module they are of.
  void weights(const Json& value, const std::string& path, const std::string& part);

  ConvertedConfig out;
  // Tables that several parts add to.
  Table train, evaluate, hooks, init, runtime, vars;
  Array freeze;
  // What one part knows and others need.
  bool change = false;  // a model of several dates
  std::int64_t num_classes = 0, ignore_index = 255;
  std::optional<std::int64_t> steps, epochs;
  int synced_norms = 0;

 private:
  const Json& dump_;
  const Registry& registry_;
  std::set<std::string> seen_;
};

// The parts, in the order in which they are converted.

/// train_cfg: how long a run is.
void convert_length(Conversion& c);
/// model, with its frozen parts, its weights and its windows.
Table convert_model(Conversion& c);
/// Labels and splits.
Table convert_data(Conversion& c);
/// optim_wrapper and param_scheduler: sets "optimizer" and "schedule" of the config.
void convert_optimization(Conversion& c, Table& root);
/// default_hooks and custom_hooks.
void convert_hooks(Conversion& c);
/// val_evaluator, tta_pipeline.
void convert_evaluation(Conversion& c);

}  // namespace strata::tools::convert
