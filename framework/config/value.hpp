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
};

struct Entry {
  std::string key;
  Origin key_origin;
  Value value;
};

}  // namespace strata::config
