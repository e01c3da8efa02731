// What holds for every key there is: options of each registered component and of each shipped
// config survive dumping and reading, are documented, and are accepted by the JSON Schema.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "framework/base/files.hpp"
#include "framework/config/describe.hpp"
#include "framework/config/toml_reader.hpp"
#include "framework/engine/experiment.hpp"
#include "registry/builtin.hpp"
#include "tests/configs/shrunk.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;
using config::Schema;
using config::Value;
using nlohmann::json;

const Registry& builtins() {
  static const auto registry = [] {
    auto one = std::make_unique<Registry>();
    register_builtin_components(*one);
    return one;
  }();
  return *registry;
}

// Reads `dumped` into a new object; what it says of keys that have no default is no mistake.
std::shared_ptr<void> read_again(const Schema& schema, const Value& dumped) {
  const config::Document document =
      config::load_text(config::to_toml(dumped, {.escape_references = true}), "dump.toml");
  EXPECT_TRUE(document.problems.empty());
  config::Binder binder(builtins());
  const std::shared_ptr<void> object = schema.make();
  binder.bind(schema, object.get(), document.root);
  for (const Problem& problem : binder.problems) {
    const config::Field* field = schema.find(problem.path);
    EXPECT_TRUE(field != nullptr && field->required) << problem.str();
  }
  EXPECT_TRUE(binder.warnings.empty());
  return object;
}

TEST(EveryComponent, SurvivesDumpingAndReading) {
  for (const std::string& kind : builtins().kinds()) {
    for (const std::string& name : builtins().names(kind)) {
      SCOPED_TRACE(kind + " " + name);
      const Schema& schema = *builtins().find(kind, name)->schema;
      const std::shared_ptr<void> object = schema.make();
      for (const bool full : {true, false}) {
        const Value dumped = config::dump_object(schema, object.get(), full);
        const std::shared_ptr<void> again = read_again(schema, dumped);
        Value want = config::dump_object(schema, object.get(), true);
        Value got = config::dump_object(schema, again.get(), true);
        EXPECT_EQ(got, want) << got.str() << "\n" << want.str();
      }
    }
  }
}

void expect_documented(const Schema& schema, const std::string& where) {
  std::vector<std::string> keys;
  for (const config::Field& field : schema.fields) {
    const std::string path = where + "." + field.key;
    EXPECT_GE(field.doc.size(), 3U) << path << " says nothing about itself";
    EXPECT_FALSE(field.doc.ends_with(".")) << path << ": " << field.doc;
    EXPECT_TRUE(std::find(keys.begin(), keys.end(), field.key) == keys.end()) << path << " twice";
    keys.push_back(field.key);
    for (const std::string& alias : field.aliases) keys.push_back(alias);
    if (field.type.nested != nullptr) expect_documented(field.type.nested(), path);
  }
}

TEST(EveryComponent, IsDocumentedAndNamesEachKeyOnce) {
  for (const std::string& kind : builtins().kinds()) {
    for (const std::string& name : builtins().names(kind)) {
      const ComponentEntry& entry = *builtins().find(kind, name);
      EXPECT_FALSE(entry.doc.empty()) << name;
      expect_documented(*entry.schema, name);
    }
  }
  expect_documented(config::schema_of<Experiment>(), "config");
}

std::vector<std::string> toml_files(const std::string& folder, bool with_pieces) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".toml") continue;
    if (with_pieces || path.find("/_base_/") == std::string::npos) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A checkpoint keeps the config as dumped: it must mean the same when it is read again.
TEST(EveryConfig, SurvivesDumpingAndReading) {
  for (const std::string& path : toml_files(STRATA_SOURCE_DIR "/configs", false)) {
    SCOPED_TRACE(path);
    Registry registry;
    register_builtin_components(registry);
    const Experiment experiment = load_experiment(path, tests::vocabulary_for(path), registry);
    const Schema& schema = config::schema_of<Experiment>();
    const Value want = config::dump_object(schema, &experiment, true);
    for (const bool full : {true, false}) {
      const std::string text = config::to_toml(config::dump_object(schema, &experiment, full),
                                               {.escape_references = true});
      const Experiment again =
          bind_experiment(config::load_text(text, "dump.toml"), "dump", registry);
      EXPECT_EQ(config::dump_object(schema, &again, true), want) << text;
    }
  }
}

// ---------------------------------------------------------------------------------------------
// As much of JSON Schema, draft 4, as our schema uses.

json to_json(const Value& value) {
  if (const auto* flag = value.as_bool()) return *flag;
  if (const auto* integer = value.as_integer()) return *integer;
  if (const auto* number = value.as_float()) return *number;
  if (const auto* text = value.as_string()) return *text;
  json out = value.as_array() != nullptr ? json::array() : json::object();
  if (const auto* array = value.as_array()) {
    for (const Value& element : *array) out.push_back(to_json(element));
  } else {
    for (const config::Entry& entry : value.as_table()->entries()) {
      out[entry.key] = to_json(entry.value);
    }
  }
  return out;
}

bool has_type(const json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
         (type == "string" && value.is_string()) || (type == "number" && value.is_number()) ||
         (type == "boolean" && value.is_boolean());
}

bool accepts(const json& root, const json& schema, const json& value);

bool accepts_number(const json& schema, double number) {
  const bool above = schema.value("exclusiveMinimum", false);
  const bool below = schema.value("exclusiveMaximum", false);
  if (schema.contains("minimum")) {
    const double bound = schema["minimum"];
    if (number < bound || (above && number == bound)) return false;
  }
  if (schema.contains("maximum")) {
    const double bound = schema["maximum"];
    if (number > bound || (below && number == bound)) return false;
  }
  return true;
}

bool accepts_object(const json& root, const json& schema, const json& value) {
  for (const auto& [key, child] : value.items()) {
    if (schema.contains("properties") && schema["properties"].contains(key)) {
      if (!accepts(root, schema["properties"][key], child)) return false;
    } else if (schema.contains("additionalProperties")) {
      const json& more = schema["additionalProperties"];
      if (more.is_boolean() ? !more.get<bool>() : !accepts(root, more, child)) return false;
    }
  }
  return true;
}

bool accepts(const json& root, const json& schema, const json& value) {
  if (schema.contains("$ref")) {
    const std::string target = schema["$ref"];
    return accepts(root, root["definitions"][target.substr(14)], value);
  }
  if (schema.contains("anyOf")) {
    return std::any_of(schema["anyOf"].begin(), schema["anyOf"].end(),
                       [&](const json& choice) { return accepts(root, choice, value); });
  }
  if (schema.contains("type") && !has_type(value, schema["type"])) return false;
  if (schema.contains("enum")) {
    const json& choices = schema["enum"];
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) return false;
  }
  if (schema.contains("pattern") && value.is_string()) {
    if (!std::regex_search(value.get<std::string>(),
                           std::regex(schema["pattern"].get<std::string>())))
      return false;
  }
  if (value.is_number() && !accepts_number(schema, value)) return false;
  if (value.is_array()) {
    if (value.size() < schema.value("minItems", std::size_t{0})) return false;
    if (schema.contains("maxItems") && value.size() > schema["maxItems"]) return false;
    if (schema.contains("items")) {
      for (const json& element : value) {
        if (!accepts(root, schema["items"], element)) return false;
      }
    }
  }
  return !value.is_object() || accepts_object(root, schema, value);
}

bool accepts_file(const json& schema, const std::string& path) {
  return accepts(schema, schema, to_json(config::read_toml_file(path)));
}

TEST(JsonSchema, AcceptsEveryShippedFileAndRefusesMistakes) {
  const json schema = json::parse(config::json_schema(config::schema_of<Experiment>(), builtins()));
  for (const std::string& path : toml_files(STRATA_SOURCE_DIR "/configs", true)) {
    EXPECT_TRUE(accepts_file(schema, path)) << path;
  }
  const std::string mistakes = STRATA_SOURCE_DIR "/tests/configs/";
  EXPECT_TRUE(accepts_file(schema, mistakes + "_base_/fine.toml"));
  EXPECT_TRUE(accepts_file(schema, mistakes + "_base_/pair.toml"));
  for (const char* name :
       {"unknown_top_level_key", "unknown_key", "unknown_key_of_component", "unknown_choice",
        "wrong_role", "string_for_integer", "float_for_integer", "array_size", "below_minimum",
        "unknown_component", "not_above", "loss_as_metric", "empty_array", "unknown_hook"}) {
    EXPECT_FALSE(accepts_file(schema, mistakes + name + ".toml")) << name;
  }
}

// docs/reference is written by `list --markdown docs/reference` and committed: it must be current.
TEST(ReferencePages, AreCurrent) {
  const std::string folder = STRATA_SOURCE_DIR "/docs/reference/";
  const std::string cure = "; run build/tools/list --markdown docs/reference";
  EXPECT_EQ(read_text(folder + "config.md"),
            config::markdown_of_config(config::schema_of<Experiment>()))
      << "docs/reference/config.md is out of date" << cure;
  for (std::string kind : builtins().kinds()) {
    const std::string want = config::markdown_of_kind(builtins(), kind);
    std::replace(kind.begin(), kind.end(), ' ', '_');
    EXPECT_TRUE(read_text(folder + kind + ".md") == want) << kind << ".md is out of date" << cure;
  }
}

}  // namespace
}  // namespace strata
