#include "framework/config/describe.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <vector>

namespace strata::config {

namespace {

std::string plain_number(double number) {
  char buffer[40];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr};
}

std::string plural(const std::string& noun) {
  if (noun.ends_with("s") || noun.ends_with("x") || noun.ends_with("sh")) return noun + "es";
  return noun + "s";
}

std::string noun_of(const TypeInfo& type) {
  switch (type.kind) {
    case TypeInfo::Kind::any:
      return "value of any type";
    case TypeInfo::Kind::boolean:
      return "boolean";
    case TypeInfo::Kind::integer:
      return "integer";
    case TypeInfo::Kind::number:
      return "number";
    case TypeInfo::Kind::string:
      return "string";
    case TypeInfo::Kind::path:
      return "path";
    case TypeInfo::Kind::array:
      return "array";
    case TypeInfo::Kind::named:
    case TypeInfo::Kind::table:
      return "table";
    case TypeInfo::Kind::component:
      return type.component;
  }
  return "";
}

std::string bounds_text(const Constraints& c) {
  std::string text;
  if (c.minimum) {
    text += (c.exclusive_minimum ? ", above " : ", at least ") + plain_number(*c.minimum);
  }
  if (c.maximum) {
    text += (c.exclusive_maximum ? ", below " : ", at most ") + plain_number(*c.maximum);
  }
  std::string list;
  for (const std::string& choice : c.choices)
    list += (list.empty() ? "\"" : ", \"") + choice + "\"";
  for (const std::int64_t n : c.numbers) list += (list.empty() ? "" : ", ") + std::to_string(n);
  return list.empty() ? text : text + ": " + list;
}

const TypeInfo& innermost(const TypeInfo& type) {
  return type.element ? innermost(*type.element) : type;
}

struct Row {
  std::string key, value, type, doc;
};

bool is_table(const TypeInfo& type) {
  return innermost(type).kind == TypeInfo::Kind::table && innermost(type).nested != nullptr;
}

void collect_rows(const Schema& schema, const std::string& path, const void* object, int depth,
                  std::vector<Row>& rows) {
  constexpr int kMaxDepth = 6;  // options that hold themselves would go on for ever
  for (const Field& field : schema.fields) {
    if (!field.deprecated.empty()) continue;
    const Value value = object == nullptr ? Value{} : field.dump(object, nullptr);
    const bool nested = is_table(field.type);
    std::string text = value.is_null() ? "" : value.str();
    if (field.required) text = "required";
    if (nested && field.type.kind == TypeInfo::Kind::table) text.clear();
    std::string key = path + field.key;
    rows.push_back({key, text, type_text(field.type, field.constraints), field.doc});
    if (!nested || depth > kMaxDepth) continue;
    if (field.type.kind == TypeInfo::Kind::array) key += ".N";
    if (field.type.kind == TypeInfo::Kind::named || field.type.or_named) key += ".NAME";
    // Defaults of a nested table are those of the struct that holds it: not known here.
    const Schema& inner = innermost(field.type).nested();
    const std::shared_ptr<void> fresh = inner.make();
    collect_rows(inner, key + ".", fresh.get(), depth + 1, rows);
  }
}

std::vector<Row> rows_of(const Schema& schema) {
  std::vector<Row> rows;
  const std::shared_ptr<void> fresh = schema.make();
  collect_rows(schema, "", fresh.get(), 0, rows);
  return rows;
}

std::string pad(const std::string& text, std::size_t width) {
  return text.size() >= width ? text : text + std::string(width - text.size(), ' ');
}

std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
  return out;
}

std::string markdown_table(const Schema& schema) {
  const std::vector<Row> rows = rows_of(schema);
  if (rows.empty()) return "No keys.\n";
  std::string text = "| key | default | type | meaning |\n|---|---|---|---|\n";
  for (const Row& row : rows) {
    const std::string value =
        row.value.empty() || row.value == "required" ? row.value : "`" + row.value + "`";
    text += "| `" + row.key + "` | " + cell(value) + " | " + cell(row.type) + " | " +
            cell(row.doc) + " |\n";
  }
  return text;
}

}  // namespace

std::string type_text(const TypeInfo& type, const Constraints& constraints) {
  std::string text;
  if (type.kind == TypeInfo::Kind::array && type.element) {
    const TypeInfo& element = *type.element;
    const std::string count = constraints.size ? std::to_string(*constraints.size) + " "
                              : constraints.min_size.value_or(0) > 0
                                  ? "at least " + std::to_string(*constraints.min_size) + " "
                                  : "";
    std::string noun = noun_of(element);
    if (element.kind == TypeInfo::Kind::array) {
      noun = type_text(element, {});
      noun.insert(noun.starts_with("array") ? 5 : 0, noun.starts_with("array") ? "s" : "");
    } else if (count != "1 ") {
      noun = element.kind == TypeInfo::Kind::any ? "values" : plural(noun);
    }
    text = "array of " + count + noun + bounds_text(constraints);
    if (constraints.one_or_many) text += ", or one alone";
  } else if (type.kind == TypeInfo::Kind::named && type.element) {
    text = "table of named " + plural(noun_of(*type.element)) + bounds_text(constraints);
  } else {
    text = noun_of(type) + bounds_text(constraints);
  }
  if (type.kind == TypeInfo::Kind::table && !type.nested().shorthand.empty()) {
    text += ", or its " + type.nested().shorthand + " alone";
  }
  if (type.or_named) text += ", or several by name";
  return text;
}

std::string describe(const Schema& schema) {
  const std::vector<Row> rows = rows_of(schema);
  if (rows.empty()) return "  no keys\n";
  constexpr std::size_t kMaxColumn = 34;  // longer entries push only their own line
  std::size_t key_width = 0, type_width = 0;
  std::vector<std::string> heads;
  for (const Row& row : rows) {
    const bool is_default = !row.value.empty() && row.value != "required";
    heads.push_back(row.key + (is_default          ? " = " + row.value
                               : row.value.empty() ? ""
                                                   : "  (required)"));
    key_width = std::max(key_width, std::min(heads.back().size(), kMaxColumn));
    type_width = std::max(type_width, std::min(row.type.size(), kMaxColumn));
  }
  std::string text;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += "  " + pad(heads[i], key_width) + "  " + pad(rows[i].type, type_width) + "  " +
            rows[i].doc + "\n";
  }
  return text;
}

std::string describe(const ComponentType& component) {
  std::string text = component.name + " (" + component.kind + ", " + component.origin + ")\n" +
                     component.doc + "\n";
  for (const std::string& alias : component.aliases) text += "old name: " + alias + "\n";
  return text + "\n" + describe(*component.schema);
}

const Schema* find_schema(const Schema& root, const std::string& path) {
  const Schema* schema = &root;
  for (const std::string& segment : split_path(path)) {
    const Field* field = schema->find(segment);
    if (field == nullptr || !is_table(field->type)) return nullptr;
    schema = &innermost(field->type).nested();
  }
  return schema;
}

std::string markdown_of_kind(const ComponentCatalog& catalog, const std::string& kind) {
  std::string text = "# " + kind + "\n\nWritten by `list --markdown`; not to be edited.\n";
  for (const std::string& name : catalog.names(kind)) {
    const ComponentType& component = *catalog.find(kind, name);
    text += "\n## " + name + "\n" + component.doc + "\n";
    for (const std::string& alias : component.aliases) text += "\nOld name: `" + alias + "`.\n";
    text += "\n" + markdown_table(*component.schema);
  }
  return text;
}

std::string markdown_of_config(const Schema& root) {
  return "# Keys of a config\n\nWritten by `list --markdown`; not to be edited. Keys of components "
         "(`type = \"...\"`) are on the pages of their kinds.\n\n" +
         markdown_table(root);
}

}  // namespace strata::config
