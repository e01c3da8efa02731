// The config tree: TOML values that remember where they were written, through inheritance,
// references and overrides.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/export.hpp"

namespace strata::config {

class Value;
struct Entry;
using Array = std::vector<Value>;

/// An ordered table: entries keep the order in which they were first written.
class STRATA_API Table {
 public:
  Table();
  Table(const Table&);
  Table(Table&&) noexcept;
  Table& operator=(const Table&);
  Table& operator=(Table&&) noexcept;
  ~Table();

  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  /// Sets or replaces; a replaced entry keeps its place in the order.
  Value& set(std::string key, Value value, Origin key_origin = {});
  bool erase(std::string_view key);
  bool contains(std::string_view key) const { return find(key) != nullptr; }
  bool empty() const;
  std::size_t size() const;
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }

 private:
  std::vector<Entry> entries_;
};

/// null (absent), bool, integer, float, string, array or table. TOML dates are refused on reading.
class STRATA_API Value {
 public:
  using Data = std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Table>;

  Value() = default;
  Value(Data content, Origin where = {}) : data(std::move(content)), origin(std::move(where)) {}

  bool is_null() const { return data.index() == 0; }
  const bool* as_bool() const { return std::get_if<bool>(&data); }
  const std::int64_t* as_integer() const { return std::get_if<std::int64_t>(&data); }
  const double* as_float() const { return std::get_if<double>(&data); }
  const std::string* as_string() const { return std::get_if<std::string>(&data); }
  const Array* as_array() const { return std::get_if<Array>(&data); }
  Array* as_array() { return std::get_if<Array>(&data); }
  const Table* as_table() const { return std::get_if<Table>(&data); }
  Table* as_table() { return std::get_if<Table>(&data); }

  /// The value at a dotted path ("data.train.transforms.2.size"), nullptr when there is none.
  const Value* at(std::string_view dotted_path) const;

  /// "boolean", "integer", "float", "string", "array", "table" or "nothing".
  const char* type_name() const;
  /// As TOML on one line; what messages quote.
  std::string str() const;
  /// Same content, wherever it was written.
  bool operator==(const Value& other) const;

  Data data;
  Origin origin;
  std::string folder{};   // relative paths count from here; "" is the working directory
  std::string via{};      // `"${vars.crop}", set at a.toml:3:8` when a reference brought it here
  bool loose = false;     // text from the environment: read as the type that is asked for
  bool reported = false;  // something wrong with it was said already: say nothing more
};

struct Entry {
  std::string key;
  Origin key_origin;
  Value value;
};

/// "model.backbone" + "depth"; a key that is not a bare TOML key is quoted.
STRATA_API std::string join_path(std::string_view path, std::string_view key);
/// The segments of a dotted path, quotes removed.
STRATA_API std::vector<std::string> split_path(std::string_view path);
/// The array index a segment stands for: "2", or "-1" for the last; -1 when it is none.
STRATA_API std::int64_t array_index(std::string_view segment, std::size_t array_size);

struct TomlStyle {
  bool origins = false;            // a comment after each key: where it was written
  bool escape_references = false;  // write "$" so that reading again gives the same text
};
/// A table as a TOML document, one key a line, tables under headers.
STRATA_API std::string to_toml(const Value& table, const TomlStyle& style = {});

}  // namespace strata::config
