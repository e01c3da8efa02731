#include "framework/config/toml_reader.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <tuple>

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace strata::config {

namespace {

// Converts by reference only: toml++ 3.3 loses a node's position when the node is copied.
class Converter {
 public:
  Converter(std::string name, std::string folder)
      : name_(std::move(name)), folder_(std::move(folder)) {}

  Value convert(const toml::node& node, const std::string& path) {
    Value value;
    value.origin = origin(node.source());
    value.folder = folder_;
    if (const auto* table = node.as_table()) {
      Table out;
      for (const auto& [key, element] : *table) {
        const std::string text(key.str());
        out.set(text, convert(element, join_path(path, text)), origin(key.source()));
      }
      sort_as_written(out);
      value.data = std::move(out);
    } else if (const auto* array = node.as_array()) {
      Array out;
      for (std::size_t i = 0; i < array->size(); ++i) {
        out.push_back(convert((*array)[i], join_path(path, std::to_string(i))));
      }
      value.data = std::move(out);
    } else if (const auto* text = node.as_string()) {
      value.data = text->get();
    } else if (const auto* integer = node.as_integer()) {
      value.data = integer->get();
    } else if (const auto* number = node.as_floating_point()) {
      value.data = number->get();
    } else if (const auto* flag = node.as_boolean()) {
      value.data = flag->get();
    } else {
      std::ostringstream date;
      if (const auto* d = node.as_date()) date << d->get();
      if (const auto* t = node.as_time()) date << t->get();
      if (const auto* dt = node.as_date_time()) date << dt->get();
      problems.push_back({value.origin, path,
                          "dates are not used in configs, got " + date.str() +
                              "; write it in quotes: \"" + date.str() + "\""});
      value.reported = true;
    }
    return value;
  }

  std::vector<Problem> problems;

 private:
  Origin origin(const toml::source_region& region) const {
    if (!region.begin) return {name_, 1, 1};
    return {name_, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
  }

  // toml++ sorts keys; a table's entries go back to the order in the file.
  static void sort_as_written(Table& table) {
    std::stable_sort(table.entries().begin(), table.entries().end(),
                     [](const Entry& a, const Entry& b) {
                       return std::tie(a.key_origin.line, a.key_origin.column) <
                              std::tie(b.key_origin.line, b.key_origin.column);
                     });
  }

  std::string name_;
  std::string folder_;
};

std::string lower_start(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Value parse_toml(std::string_view text, const std::string& name, const std::string& folder) {
  toml::table table;
  try {
    table = toml::parse(text, std::string_view(name));
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    const Origin where{name, static_cast<int>(begin.line), static_cast<int>(begin.column)};
    throw ConfigError(
        {{where, "", "not valid TOML: " + lower_start(std::string(error.description()))}});
  }
  Converter converter(name, folder);
  Value root = converter.convert(table, "");
  root.origin = {name, 1, 1};
  if (!converter.problems.empty()) throw ConfigError(std::move(converter.problems));
  return root;
}

Value read_toml_file(const std::string& path, const Origin& asked_from) {
  namespace fs = std::filesystem;
  const Origin where = asked_from.source.empty() ? Origin{path} : asked_from;
  const std::string what = asked_from.source.empty() ? "" : "\"" + path + "\": ";
  std::error_code code;
  if (!fs::exists(path, code)) throw ConfigError({{where, "", what + "no such file"}});
  if (fs::is_directory(path, code)) {
    throw ConfigError({{where, "", what + "is a folder, a TOML file is needed"}});
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf() || fs::file_size(path, code) == 0)) {
    throw ConfigError({{where, "", what + "cannot be read; check its permissions"}});
  }
  return parse_toml(text.str(), path, fs::path(path).parent_path().string());
}

std::optional<Value> parse_toml_value(std::string_view text, const Origin& origin,
                                      std::string* why) {
  try {
    const toml::table table = toml::parse("v = " + std::string(text), std::string_view("value"));
    if (table.size() != 1) return std::nullopt;  // a line break smuggled in another key
    Converter converter(origin.source, "");
    Value value = converter.convert(*table.get("v"), "");
    if (!converter.problems.empty()) return std::nullopt;
    std::function<void(Value&)> stamp = [&](Value& inner) {
      inner.origin = origin;
      if (Array* array = inner.as_array()) {
        for (Value& element : *array) stamp(element);
      }
      if (Table* entries = inner.as_table()) {
        for (Entry& entry : entries->entries()) {
          entry.key_origin = origin;
          stamp(entry.value);
        }
      }
    };
    stamp(value);
    return value;
  } catch (const toml::parse_error& error) {
    if (why != nullptr) *why = lower_start(std::string(error.description()));
    return std::nullopt;
  }
}

}  // namespace strata::config
