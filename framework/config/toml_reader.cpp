#include "framework/config/toml_reader.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <sstream>
#include <tuple>

#include "framework/base/files.hpp"

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace strata::config {

namespace {

constexpr int kMaxDepth = 100;  // of tables and arrays inside of each other

// Converts by reference only: toml++ 3.3 loses a node's position when the node is copied.
class Converter {
 public:
  Converter(std::string name, std::string folder)
      : name_(std::move(name)), folder_(std::move(folder)) {}

  Value convert(const toml::node& node, const std::string& path, int depth = 0) {
    Value value;
    value.origin = origin(node.source());
    value.folder = folder_;
    if (depth > kMaxDepth) {
      if (problems.empty()) {
        problems.push_back({value.origin, path.substr(0, 80) + "…",
                            "nests deeper than " + std::to_string(kMaxDepth) + " levels"});
      }
      return value;
    }
    if (const auto* table = node.as_table()) {
      Table out;
      for (const auto& [key, element] : *table) {
        const std::string text(key.str());
        out.set(text, convert(element, join_path(path, text), depth + 1), origin(key.source()));
      }
      sort_as_written(out);
      value.data = std::move(out);
    } else if (const auto* array = node.as_array()) {
      Array out;
      for (std::size_t i = 0; i < array->size(); ++i) {
        out.push_back(convert((*array)[i], join_path(path, std::to_string(i)), depth + 1));
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

// The index after the string that begins at `at`.
std::size_t string_end(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const std::string fence(3, quote);
  const bool is_long = text.substr(at, 3) == fence;
  for (std::size_t i = at + (is_long ? 3 : 1); i < text.size(); ++i) {
    if (text[i] == '\\' && quote == '"') {
      ++i;
    } else if (is_long && text.substr(i, 3) == fence) {
      i += 3;
      while (i < text.size() && text[i] == quote) ++i;  // quotes of its own at the end
      return i;
    } else if (!is_long && (text[i] == quote || text[i] == '\n')) {
      return i + 1;
    }
  }
  return text.size();
}

// toml++ makes a table of every part of a dotted key, and frees them by recursion: some ten thousand
// would end the stack.
void check_keys(std::string_view text, const std::string& name) {
  int line = 1, dots = 0;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '"' || c == '\'') {
      const std::size_t end = string_end(text, i);
      line += static_cast<int>(std::count(text.begin() + static_cast<std::ptrdiff_t>(i),
                                          text.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
      i = end;
      continue;
    }
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (c == '\n') ++line;
    if (c == '.') ++dots;
    if (c == '\n' || c == '=' || c == ',' || c == '[' || c == '{') dots = 0;
    if (dots > kMaxDepth) {
      throw ConfigError({{{name, line, 0},
                          "",
                          "a key has more than " + std::to_string(kMaxDepth) + " parts"}});
    }
    ++i;
  }
}

std::string lower_start(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  while (!text.empty() && (text.back() == '.' || text.back() == ' ')) text.pop_back();
  return text;
}

}  // namespace

Value parse_toml(std::string_view text, const std::string& name, const std::string& folder) {
  check_keys(text, name);
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
  if (!fs::is_regular_file(path, code)) {
    throw ConfigError({{where, "", what + "is a device or a pipe, a TOML file is needed"}});
  }
  std::string text;
  try {
    text = read_text(path);
  } catch (const UserError&) {
    throw ConfigError({{where, "", what + "cannot be read; check its permissions"}});
  }
  return parse_toml(text, path, fs::path(path).parent_path().string());
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
