// JSON Schema, draft 4. Component tables are alternatives told apart by their `type`; anyOf and not
// oneOf, because a table that inherits its `type` from a base may fit several.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "framework/config/describe.hpp"

namespace strata::config {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Value& value) {
  if (const auto* flag = value.as_bool()) return *flag;
  if (const auto* integer = value.as_integer()) return *integer;
  if (const auto* number = value.as_float()) return *number;
  if (const auto* text = value.as_string()) return *text;
  if (const auto* array = value.as_array()) {
    Json out = Json::array();
    for (const Value& element : *array) out.push_back(to_json(element));
    return out;
  }
  if (const auto* table = value.as_table()) {
    Json out = Json::object();
    for (const Entry& entry : table->entries()) out[entry.key] = to_json(entry.value);
    return out;
  }
  return nullptr;
}

class Writer {
 public:
  explicit Writer(const ComponentCatalog& catalog) : catalog_(catalog) {}

  Json root(const Schema& schema) {
    Json out = {{"$schema", "http://json-schema.org/draft-04/schema#"}, {"title", "strata config"}};
    out.update(table(schema));
    Json& properties = out["properties"];
    properties["_base_"] = {
        {"description", "files this one is based on, from its folder; later ones win"},
        {"anyOf", {{{"type", "string"}}, {{"type", "array"}, {"items", {{"type", "string"}}}}}}};
    properties["vars"] = {{"description", "values to refer to as \"${vars.NAME}\""},
                          {"type", "object"}};
    Json definitions = Json::object();
    definitions["reference"] = {{"description", "\"${a.b}\": the value of another key"},
                                {"type", "string"},
                                {"pattern", "\\$\\{.+\\}"}};
    for (const std::string& kind : catalog_.kinds()) add_kind(kind, definitions);
    while (!kinds_.empty()) {  // kinds that have slots but no component yet
      const std::string kind = *kinds_.begin();
      kinds_.erase(kinds_.begin());
      if (!definitions.contains(kind)) add_kind(kind, definitions);
    }
    out["definitions"] = std::move(definitions);
    return out;
  }

 private:
  static Json reference(const std::string& name) { return {{"$ref", "#/definitions/" + name}}; }

  static void bound(Json& out, const Constraints& c) {
    if (c.minimum) out["minimum"] = *c.minimum;
    if (c.minimum && c.exclusive_minimum) out["exclusiveMinimum"] = true;
    if (c.maximum) out["maximum"] = *c.maximum;
    if (c.maximum && c.exclusive_maximum) out["exclusiveMaximum"] = true;
  }

  Json table(const Schema& schema, const std::string& type = "") {
    Json properties = Json::object();
    if (!type.empty()) properties["type"] = {{"enum", Json::array({type})}};
    const std::shared_ptr<void> fresh = schema.make();
    for (const Field& field : schema.fields) {
      Json property = value_of(field.type, field.constraints);
      const Value value = field.dump(fresh.get(), nullptr);
      const bool is_table = field.type.kind == TypeInfo::Kind::table;
      property["description"] =
          field.doc + (field.deprecated.empty() ? "" : "; going away: " + field.deprecated);
      Json docs = {{"main", field.doc}};
      if (!value.is_null() && !is_table && !field.required) {
        property["default"] = to_json(value);
        docs["defaultValue"] = value.str();
      }
      property["x-taplo"] = {{"docs", docs}};
      properties[field.key] = property;
      for (const std::string& alias : field.aliases) properties[alias] = property;
    }
    properties["_delete_"] = {{"description", "true: forget what the bases put here"},
                              {"type", "boolean"}};
    return {
        {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  }

  // A value of the type, or a reference in its place.
  Json value_of(const TypeInfo& type, const Constraints& constraints) {
    if (type.kind == TypeInfo::Kind::any) return Json::object();
    Json choices = Json::array();
    add_types(type, constraints, choices);
    if (type.or_named) choices.push_back(named(type, constraints));
    choices.push_back(reference("reference"));
    return {{"anyOf", std::move(choices)}};
  }

  Json named(const TypeInfo& element, const Constraints& constraints) {
    TypeInfo single = element;
    single.or_named = false;
    return {{"type", "object"},
            {"properties", {{"_delete_", {{"type", "boolean"}}}}},
            {"additionalProperties", value_of(single, constraints.of_element())}};
  }

  void add_types(const TypeInfo& type, const Constraints& c, Json& choices) {
    Json out = Json::object();
    switch (type.kind) {
      case TypeInfo::Kind::any:
        break;
      case TypeInfo::Kind::boolean:
        out["type"] = "boolean";
        break;
      case TypeInfo::Kind::integer:
        out["type"] = "integer";
        bound(out, c);
        if (!c.numbers.empty()) out["enum"] = c.numbers;
        break;
      case TypeInfo::Kind::number:
        out["type"] = "number";
        bound(out, c);
        break;
      case TypeInfo::Kind::string:
      case TypeInfo::Kind::path:
        out["type"] = "string";
        if (!c.choices.empty()) out["enum"] = c.choices;
        break;
      case TypeInfo::Kind::array:
        out["type"] = "array";
        out["items"] = value_of(*type.element, c.of_element());
        if (c.size) out["minItems"] = out["maxItems"] = *c.size;
        if (c.min_size) out["minItems"] = *c.min_size;
        if (c.one_or_many) add_types(*type.element, c.of_element(), choices);
        break;
      case TypeInfo::Kind::named:
        out = named(*type.element, c);
        break;
      case TypeInfo::Kind::table:
        return add_table(type, choices);
      case TypeInfo::Kind::component:
        kinds_.insert(type.component);
        out = reference(type.component);
        break;
    }
    choices.push_back(std::move(out));
  }

  void add_table(const TypeInfo& type, Json& choices) {
    const Schema& schema = type.nested();
    if (std::find(open_.begin(), open_.end(), &schema) != open_.end()) {
      choices.push_back({{"type", "object"}});  // options that hold themselves
      return;
    }
    open_.push_back(&schema);
    if (const Field* field = schema.find(schema.shorthand)) {
      add_types(field->type, field->constraints, choices);
    }
    choices.push_back(table(schema));
    open_.pop_back();
  }

  void add_kind(const std::string& kind, Json& definitions) {
    const std::vector<std::string> names = catalog_.names(kind);
    Json choices = {reference("reference"), {{"type", "string"}, {"enum", names}}};
    for (const std::string& name : names) {
      const ComponentType& component = *catalog_.find(kind, name);
      Json entry = table(*component.schema, name);
      for (const std::string& alias : component.aliases) {
        entry["properties"]["type"]["enum"].push_back(alias);
      }
      entry["title"] = name;
      entry["description"] = component.doc;
      entry["x-taplo"] = {{"docs", {{"main", component.doc}}}, {"initKeys", Json::array({"type"})}};
      definitions[kind + "." + name] = std::move(entry);
      choices.push_back(reference(kind + "." + name));
    }
    definitions[kind] = {{"anyOf", std::move(choices)}};
  }

  const ComponentCatalog& catalog_;
  std::vector<const Schema*> open_;
  std::set<std::string> kinds_;
};

}  // namespace

std::string json_schema(const Schema& root, const ComponentCatalog& catalog) {
  return Writer(catalog).root(root).dump(1) + "\n";
}

}  // namespace strata::config
