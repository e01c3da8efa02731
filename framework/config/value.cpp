#include "framework/config/value.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace strata::config {

Table::Table() = default;
Table::Table(const Table&) = default;
Table::Table(Table&&) noexcept = default;
Table& Table::operator=(const Table&) = default;
Table& Table::operator=(Table&&) noexcept = default;
Table::~Table() = default;

bool Table::empty() const { return entries_.empty(); }
std::size_t Table::size() const { return entries_.size(); }

const Value* Table::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

Value* Table::find(std::string_view key) {
  return const_cast<Value*>(static_cast<const Table*>(this)->find(key));
}

Value& Table::set(std::string key, Value value, Origin key_origin) {
  for (Entry& entry : entries_) {
    if (entry.key == key) {
      entry.value = std::move(value);
      entry.key_origin = std::move(key_origin);
      return entry.value;
    }
  }
  entries_.push_back({std::move(key), std::move(key_origin), std::move(value)});
  return entries_.back().value;
}

bool Table::erase(std::string_view key) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; }) > 0;
}

namespace {

bool is_bare_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          constexpr const char* kHex = "0123456789ABCDEF";
          const auto byte = static_cast<unsigned char>(c);
          out += std::string("\\u00") + kHex[byte >> 4] + kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
  return out + '"';
}

std::string key_text(std::string_view key) {
  return is_bare_key(key) ? std::string(key) : toml_quoted(key);
}

// The shortest text that reads back as the same number, and as a float.
std::string float_text(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  std::string text(buffer, result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string escape_references(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool special =
        text[i] == '$' && i + 1 < text.size() && (text[i + 1] == '{' || text[i + 1] == '$');
    out += special ? "$$" : std::string(1, text[i]);
  }
  return out;
}

std::string one_line(const Value& value, bool escape) {
  if (const auto* flag = value.as_bool()) return *flag ? "true" : "false";
  if (const auto* integer = value.as_integer()) return std::to_string(*integer);
  if (const auto* number = value.as_float()) return float_text(*number);
  if (const auto* text = value.as_string())
    return toml_quoted(escape ? escape_references(*text) : *text);
  if (const auto* array = value.as_array()) {
    std::string out = "[";
    for (const Value& element : *array) {
      out += (out.size() > 1 ? ", " : "") + one_line(element, escape);
    }
    return out + "]";
  }
  if (const auto* table = value.as_table()) {
    std::string out = "{";
    for (const Entry& entry : table->entries()) {
      if (entry.value.is_null()) continue;
      out += (out.size() > 1 ? ", " : "") + key_text(entry.key) + " = " +
             one_line(entry.value, escape);
    }
    return out + "}";
  }
  return "nothing";
}

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

}  // namespace

const Value* Value::at(std::string_view dotted_path) const {
  const Value* value = this;
  for (const std::string& segment : split_path(dotted_path)) {
    if (const Table* table = value->as_table()) {
      value = table->find(segment);
    } else if (const Array* array = value->as_array()) {
      const std::int64_t index = array_index(segment, array->size());
      value = index < 0 ? nullptr : &(*array)[static_cast<std::size_t>(index)];
    } else {
      return nullptr;
    }
    if (value == nullptr) return nullptr;
  }
  return value;
}

const char* Value::type_name() const {
  constexpr const char* kNames[] = {"nothing", "boolean", "integer", "float",
                                    "string",  "array",   "table"};
  return kNames[data.index()];
}

std::string Value::str() const { return one_line(*this, false); }

bool Value::operator==(const Value& other) const {
  if (data.index() != other.data.index()) return false;
  if (const auto* flag = as_bool()) return *flag == *other.as_bool();
  if (const auto* integer = as_integer()) return *integer == *other.as_integer();
  if (const auto* number = as_float()) return same(*number, *other.as_float());
  if (const auto* text = as_string()) return *text == *other.as_string();
  if (const auto* array = as_array()) return *array == *other.as_array();
  if (const auto* table = as_table()) {
    const Table& others = *other.as_table();
    if (table->size() != others.size()) return false;
    return std::all_of(table->entries().begin(), table->entries().end(), [&](const Entry& entry) {
      const Value* twin = others.find(entry.key);
      return twin != nullptr && *twin == entry.value;
    });
  }
  return true;
}

std::string join_path(std::string_view path, std::string_view key) {
  return path.empty() ? key_text(key) : std::string(path) + "." + key_text(key);
}

namespace {

// The character that an escape of toml_quoted() stands for; `at`, behind the backslash, goes to the
// last character of the escape.
char unescaped(std::string_view text, std::size_t& at) {
  if (text[at] == 'n') return '\n';
  if (text[at] == 'r') return '\r';
  if (text[at] == 't') return '\t';
  if (text[at] == 'u' && at + 4 < text.size()) {
    unsigned code = 0;
    const char* end = text.data() + at + 5;
    if (std::from_chars(text.data() + at + 1, end, code, 16).ptr == end && code < 0x80) {
      at += 4;
      return static_cast<char>(code);
    }
  }
  return text[at];
}

}  // namespace

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> segments;
  if (path.empty()) return segments;
  segments.emplace_back();
  char quote = 0;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else if (c == '\\' && quote == '"' && i + 1 < path.size()) {
        segments.back() += unescaped(path, ++i);
      } else {
        segments.back() += c;
      }
    } else if ((c == '"' || c == '\'') && segments.back().empty()) {
      quote = c;
    } else if (c == '.') {
      segments.emplace_back();
    } else {
      segments.back() += c;
    }
  }
  return segments;
}

std::int64_t array_index(std::string_view segment, std::size_t array_size) {
  std::int64_t index = 0;
  const char* end = segment.data() + segment.size();
  const auto result = std::from_chars(segment.data(), end, index);
  if (segment.empty() || result.ec != std::errc() || result.ptr != end) return -1;
  const auto size = static_cast<std::int64_t>(array_size);
  if (index < 0) index += size;
  return index >= 0 && index < size ? index : -1;
}

namespace {

constexpr std::size_t kLineWidth = 100;

std::string pretty(const Value& value, bool escape, std::size_t room) {
  std::string line = one_line(value, escape);
  const Array* array = value.as_array();
  if (array == nullptr || array->empty() || line.size() <= room) return line;
  std::string out = "[\n";
  for (const Value& element : *array) out += "  " + one_line(element, escape) + ",\n";
  return out + "]";
}

void write_table(const Table& table, const std::string& path, const TomlStyle& style,
                 std::string& out) {
  auto comment = [&](const Origin& origin) {
    return style.origins && !origin.source.empty() ? "  # " + origin.str() : std::string();
  };
  for (const Entry& entry : table.entries()) {
    if (entry.value.is_null() || entry.value.as_table() != nullptr) continue;
    const std::string key = key_text(entry.key) + " = ";
    out += key +
           pretty(entry.value, style.escape_references,
                  kLineWidth - std::min(key.size(), kLineWidth)) +
           comment(entry.value.origin) + "\n";
  }
  for (const Entry& entry : table.entries()) {
    const Table* inner = entry.value.as_table();
    if (inner == nullptr) continue;
    const std::string name = join_path(path, entry.key);
    const bool has_keys = std::any_of(
        inner->entries().begin(), inner->entries().end(),
        [](const Entry& e) { return e.value.as_table() == nullptr && !e.value.is_null(); });
    if (has_keys || inner->empty()) {
      out += (out.empty() ? "[" : "\n[") + name + "]" + comment(entry.value.origin) + "\n";
    }
    write_table(*inner, name, style, out);
  }
}

}  // namespace

std::string to_toml(const Value& table, const TomlStyle& style) {
  std::string out;
  if (const Table* root = table.as_table()) write_table(*root, "", style, out);
  return out;
}

}  // namespace strata::config
