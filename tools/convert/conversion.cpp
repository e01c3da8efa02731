#include "tools/convert/conversion.hpp"

#include <algorithm>
#include <cctype>
#include <map>

namespace strata::tools::convert {

Value value_of(const Json& json) {
  if (json.is_boolean()) return Value{json.get<bool>()};
  if (json.is_number_integer()) return Value{json.get<std::int64_t>()};
  if (json.is_number()) return Value{json.get<double>()};
  if (json.is_string()) return Value{json.get<std::string>()};
  if (json.is_array()) {
    Array array;
    for (const Json& one : json) array.push_back(value_of(one));
    return Value{std::move(array)};
  }
  Table table;
  if (json.is_object()) {
    for (const auto& [key, one] : json.items()) table.set(key, value_of(one));
  }
  return Value{std::move(table)};
}

Value text_value(std::string text) { return Value{std::move(text)}; }

Json list_of(const Json& json) {
  if (json.is_array()) return json;
  return json.is_object() ? Json::array({json}) : Json::array();
}

std::string place_in(const Json& json, const std::string& path, std::size_t i) {
  return json.is_array() ? path + "." + std::to_string(i) : path;
}

std::string key_name(const std::string& text) {
  std::string name = text;
  for (char& c : name) {
    const auto letter = static_cast<unsigned char>(c);
    c = std::isalnum(letter) != 0 ? static_cast<char>(std::tolower(letter)) : '_';
  }
  return name;
}

std::string score_name(const std::string& monitor) {
  static const std::map<std::string, std::string> kScores = {
      {"mIoU", "miou"},      {"mDice", "mf1"}, {"mFscore", "mf1"},
      {"aAcc", "aacc"},      {"mAcc", "macc"}, {"mPrecision", "mprecision"},
      {"mRecall", "mrecall"}};
  const auto score = kScores.find(monitor);
  return score == kScores.end() ? "" : score->second;
}

const Json& Conversion::part(const char* key) {
  static const Json kNothing;
  seen_.insert(key);
  const auto place = dump_.find(key);
  return place == dump_.end() ? kNothing : *place;
}

std::vector<std::pair<std::string, const Json*>> Conversion::rest() const {
  std::vector<std::pair<std::string, const Json*>> left;
  for (const auto& [key, value] : dump_.items()) {
    if (seen_.count(key) == 0) left.emplace_back(key, &value);
  }
  return left;
}

const config::Schema* Conversion::schema_of(const std::string& kind, const std::string& type,
                                            const std::string& path) {
  if (const ComponentEntry* entry = registry_.find(kind, type)) return entry->schema;
  lose(path, registry_.explain_missing(kind, type));
  return nullptr;
}

void Conversion::set_checked(Table& table, const config::Schema& schema, const std::string& key,
                             Value value, const std::string& path) {
  if (schema.find(key) == nullptr) {
    const bool alias =
        std::any_of(schema.fields.begin(), schema.fields.end(), [&](const config::Field& field) {
          return std::count(field.aliases.begin(), field.aliases.end(), key) > 0;
        });
    if (!alias) return lose(path, "no such key here");
  }
  Table alone;
  alone.set(key, value);
  const std::shared_ptr<void> object = schema.make();
  config::Binder binder(registry_);
  binder.bind(schema, object.get(), Value{std::move(alone)});
  for (const Problem& problem : binder.problems) {
    if (problem.path == key || problem.path.starts_with(key + ".")) return lose(path, problem.what);
  }
  table.set(key, std::move(value));
}

std::optional<Table> Conversion::component(const std::string& kind, const std::string& type,
                                           const Json& json, const std::string& path,
                                           const Special& special) {
  const config::Schema* schema = schema_of(kind, type, path);
  if (schema == nullptr) return std::nullopt;
  Table table;
  table.set("type", text_value(registry_.find(kind, type)->name));
  for (const auto& [key, value] : json.items()) {
    if (key == "type" || key == "_scope_") continue;
    if (special && special(table, *schema, key, value)) continue;
    if (value.is_null()) continue;  // mmseg's None: the default
    set_checked(table, *schema, key, value_of(value), path + "." + key);
  }
  return table;
}

void Conversion::weights(const Json& value, const std::string& path, const std::string& part) {
  Json from = value;
  std::string prefix;
  if (value.is_object()) {
    if (value.value("type", "") != "Pretrained") {
      return drop(path, "initialisation is each component's own");
    }
    from = value.value("checkpoint", Json());
    if (value.contains("prefix") && value["prefix"].is_string()) prefix = value["prefix"].get<std::string>();
  }
  if (!from.is_string()) return;
  const auto file = from.get<std::string>();
  if (file.find("://") != std::string::npos) {
    return lose(path, "weights: bring " + file + " here, then name the file in init.from");
  }
  Table one;
  one.set("from", text_value(file));
  if (!part.empty()) one.set("part", text_value(part));
  if (!prefix.empty()) one.set("prefix", text_value(prefix));
  init.set(part.empty() ? "model" : key_name(part), Value{std::move(one)});
}

}  // namespace strata::tools::convert
