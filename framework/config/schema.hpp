// One declaration an option: `fields()` of an options struct is turned, once per type, into a
// Schema, from which come parsing, unknown-key errors, ranges, choices, defaults, `describe`, the
// reference pages, the JSON Schema, dump and the round-trip test.
//
//   struct FcnHeadOptions {
//     int64_t num_convs = 2;
//     static auto fields() {
//       using strata::config::field;
//       return std::tuple{field("num_convs", &FcnHeadOptions::num_convs, "3x3
//       blocks").at_least(0)};
//     }
//   };
//
// Types a field can have: bool, int64_t, double, std::string, Path, Value (anything), a nested
// options struct, std::optional<T>, std::vector<T> (array), Named<T> (table of named entries), and
// component slots (registry/registry.hpp), alone or in those containers.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "framework/config/value.hpp"

namespace strata::config {

/// A path in a config: relative paths are taken from the folder of the file that wrote them
/// (from the working directory when given with --set).
struct Path {
  std::string text;      // as written; dumped so that it still means the same place
  std::string resolved;  // usable from the working directory
  bool empty() const { return text.empty(); }
  bool operator==(const Path&) const = default;
};

/// A table of named entries in the order written: `[hooks.ema]`, `[optimizer.paramwise.text]`.
template <class T>
using Named = std::vector<std::pair<std::string, T>>;

struct Schema;
class Binder;

/// What a field accepts, for people and editors.
struct TypeInfo {
  enum class Kind { any, boolean, integer, number, string, path, array, named, table, component };
  Kind kind = Kind::any;
  std::shared_ptr<TypeInfo> element{};  // of array and named
  const Schema& (*nested)() = nullptr;  // of table: lazily, so that structs may nest
  std::string component{};              // kind name ("head"), of component
  bool nullable = false;                // std::optional
  bool or_named = false;                // or a table of named ones
};

/// Bounds on a value; bounds and choices apply to the elements when the field is an array.
struct STRATA_API Constraints {
  /// The same without what is said of the array itself.
  Constraints of_element() const;

  std::optional<double> minimum, maximum;
  bool exclusive_minimum = false, exclusive_maximum = false;
  std::vector<std::string> choices;     // for strings
  std::vector<std::int64_t> numbers;    // for integers
  std::optional<std::size_t> size;      // array length
  std::optional<std::size_t> min_size;  // array length at least
  bool one_or_many = false;             // a lone element stands for an array of one
};

struct STRATA_API Field {
  std::string key;
  std::string doc;
  TypeInfo type;
  Constraints constraints;
  bool required = false;
  std::vector<std::string> aliases;  // old names, accepted with a warning that gives the new one
  std::string deprecated;            // advice; non-empty: the key is accepted with a warning
  std::function<void(void* object, const Value& value, Binder& binder)> parse;
  /// Null Value: not set. With `base`, another object of the same options, nested tables leave out
  /// what is the same there; without, every default is written.
  std::function<Value(const void* object, const void* base)> dump;
};

/// The fields of one options struct.
struct STRATA_API Schema {
  std::vector<Field> fields;
  std::string shorthand;  // key that a bare (non-table) value stands for, "" for none
  std::function<std::shared_ptr<void>()> make;  // a default-constructed object
  const Field* find(const std::string& key) const;
};

/// A registered component as the config layer sees it; the registry adds factories.
struct STRATA_API ComponentType {
  std::string kind;    // "backbone", "head", …
  std::string name;    // registered name, the `type` of a config table
  std::string doc;     // one line
  std::string origin;  // "built-in" or the plugin's path
  std::vector<std::string> aliases;
  const Schema* schema = nullptr;
  virtual ~ComponentType();
};

/// Where binding looks up `type = "..."`.
class STRATA_API ComponentCatalog {
 public:
  virtual ~ComponentCatalog();
  virtual const ComponentType* find(const std::string& kind, const std::string& name) const = 0;
  /// "no backbone named "x"; did you mean …", or that the name is of another kind.
  virtual std::string explain_missing(const std::string& kind, const std::string& name) const = 0;
  /// Every kind that has components, sorted; the sorted names of one kind.
  virtual std::vector<std::string> kinds() const = 0;
  virtual std::vector<std::string> names(const std::string& kind) const = 0;
};

/// A component chosen by a config and bound to its options, not built yet.
struct STRATA_API AnySlot {
  const ComponentType* type = nullptr;  // nullptr: slot left empty
  std::shared_ptr<void> options;        // of the component's options type
  Value source;                         // the table it was bound from, with origins
  std::string path;                     // dotted path in the config

  explicit operator bool() const { return type != nullptr; }
  /// A located error at `key` of this component (or at the component for "").
  Problem problem(const std::string& key, const std::string& what) const;
};

/// Walks a Value and fills option objects; collects every problem instead of stopping at one.
class STRATA_API Binder {
 public:
  explicit Binder(const ComponentCatalog& catalog) : catalog_(catalog) {}

  const ComponentCatalog& catalog() const { return catalog_; }
  const std::string& path() const { return path_; }
  void error(const Origin& where, std::string what);
  void warning(const Origin& where, std::string what);
  /// `what, got <value>` and then `cure` ("; did you mean …"), at the value. Silent when a problem
  /// with the value was reported before (a dead reference).
  void reject(const Value& value, const std::string& what, const std::string& cure = "");
  std::vector<Problem> problems;
  std::vector<Problem> warnings;

  /// Binds a table to an options object: unknown keys, missing required keys, then each field.
  /// `skip` is a key that belongs to the holder (`type` of a component).
  void bind(const Schema& schema, void* object, const Value& value, const char* skip = nullptr);
  void bind_slot(const std::string& kind, AnySlot& slot, const Value& value);

  /// Runs `body` with `key` appended to the dotted path.
  void inside(const std::string& key, const std::function<void()>& body);

  // Checked reading of scalars: reports and returns false when the type or a bound is wrong.
  bool read(const Value& value, bool& out, const Constraints& constraints);
  bool read(const Value& value, std::int64_t& out, const Constraints& constraints);
  bool read(const Value& value, double& out, const Constraints& constraints);
  bool read(const Value& value, std::string& out, const Constraints& constraints);
  bool read(const Value& value, Path& out, const Constraints& constraints);
  /// The elements of an array (or the lone value with one_or_many); nullopt after reporting.
  std::optional<std::vector<const Value*>> elements(const Value& value,
                                                    const Constraints& constraints);
  const Table* table(const Value& value);

 private:
  const ComponentCatalog& catalog_;
  std::string path_;
};

/// The table from which binding gives the same object again; full: with every default.
STRATA_API Value dump_object(const Schema& schema, const void* object, bool full = true);
/// Only the keys whose value differs from that in `base`; all keys when `base` is null.
STRATA_API Value dump_against(const Schema& schema, const void* object, const void* base);
STRATA_API Value dump_slot(const AnySlot& slot, bool full = true);

// ---------------------------------------------------------------------------------------------
// Codec<T>: how one C++ type is read, written and described. Extend by specialising.

template <class Options>
const Schema& schema_of();

template <class T>
concept HasFields = requires {
  T::fields();
};

template <class T, class = void>
struct Codec;

namespace detail {

template <class T, TypeInfo::Kind K>
struct ScalarCodec {
  static TypeInfo type() { return {.kind = K}; }
  static void parse(const Value& value, T& out, Binder& binder, const Constraints& constraints) {
    binder.read(value, out, constraints);
  }
  static Value dump(const T& value, bool) { return Value{Value::Data(value)}; }
};

}  // namespace detail

template <>
struct Codec<bool> : detail::ScalarCodec<bool, TypeInfo::Kind::boolean> {};
template <>
struct Codec<std::int64_t> : detail::ScalarCodec<std::int64_t, TypeInfo::Kind::integer> {};
template <>
struct Codec<double> : detail::ScalarCodec<double, TypeInfo::Kind::number> {};
template <>
struct Codec<std::string> : detail::ScalarCodec<std::string, TypeInfo::Kind::string> {};

/// As an absolute path: it means the same place wherever the dump is read.
STRATA_API Value dump_path(const Path& path);

template <>
struct Codec<Path> {
  static TypeInfo type() { return {.kind = TypeInfo::Kind::path}; }
  static void parse(const Value& value, Path& out, Binder& binder, const Constraints& c) {
    binder.read(value, out, c);
  }
  static Value dump(const Path& path, bool) { return dump_path(path); }
};

template <>
struct Codec<Value> {
  static TypeInfo type() { return {.kind = TypeInfo::Kind::any}; }
  static void parse(const Value& value, Value& out, Binder&, const Constraints&) { out = value; }
  static Value dump(const Value& value, bool) { return value; }
};

template <class T>
struct Codec<T, std::enable_if_t<HasFields<T>>> {
  static TypeInfo type() { return {.kind = TypeInfo::Kind::table, .nested = &schema_of<T>}; }
  static void parse(const Value& value, T& out, Binder& binder, const Constraints&) {
    binder.bind(schema_of<T>(), &out, value);
  }
  static Value dump(const T& value, bool full) { return dump_object(schema_of<T>(), &value, full); }
};

template <class T>
struct Codec<std::optional<T>> {
  static TypeInfo type() {
    TypeInfo info = Codec<T>::type();
    info.nullable = true;
    return info;
  }
  static void parse(const Value& value, std::optional<T>& out, Binder& binder,
                    const Constraints& constraints) {
    out.emplace();
    Codec<T>::parse(value, *out, binder, constraints);
  }
  static Value dump(const std::optional<T>& value, bool full) {
    return value ? Codec<T>::dump(*value, full) : Value{};
  }
};

template <class T>
struct Codec<std::vector<T>> {
  static TypeInfo type() {
    return {.kind = TypeInfo::Kind::array, .element = std::make_shared<TypeInfo>(Codec<T>::type())};
  }
  static void parse(const Value& value, std::vector<T>& out, Binder& binder,
                    const Constraints& constraints) {
    auto elements = binder.elements(value, constraints);
    if (!elements) return;
    out.clear();
    for (std::size_t i = 0; i < elements->size(); ++i) {
      T element{};
      binder.inside(std::to_string(i), [&] {
        Codec<T>::parse(*(*elements)[i], element, binder, constraints.of_element());
      });
      out.push_back(std::move(element));
    }
  }
  static Value dump(const std::vector<T>& values, bool full) {
    Array array;
    for (const T& value : values) array.push_back(Codec<T>::dump(value, full));
    return Value{std::move(array)};
  }
};

template <class T>
struct Codec<Named<T>> {
  static TypeInfo type() {
    return {.kind = TypeInfo::Kind::named, .element = std::make_shared<TypeInfo>(Codec<T>::type())};
  }
  static void parse(const Value& value, Named<T>& out, Binder& binder,
                    const Constraints& constraints) {
    const Table* table = binder.table(value);
    if (table == nullptr) return;
    out.clear();
    for (const Entry& entry : table->entries()) {
      T element{};
      binder.inside(entry.key, [&] { Codec<T>::parse(entry.value, element, binder, constraints); });
      out.emplace_back(entry.key, std::move(element));
    }
  }
  static Value dump(const Named<T>& values, bool full) {
    Table table;
    for (const auto& [key, value] : values) table.set(key, Codec<T>::dump(value, full));
    return Value{std::move(table)};
  }
};

// ---------------------------------------------------------------------------------------------
// field(): the builder used in fields().

template <class Options, class T>
struct FieldBuilder {
  std::string key;
  T Options::*member;
  std::string doc;
  Constraints constraints{};
  bool is_required = false;
  std::vector<std::string> old_names{};
  std::string advice{};

  FieldBuilder required() && {
    is_required = true;
    return std::move(*this);
  }
  FieldBuilder at_least(double bound) && {
    constraints.minimum = bound;
    return std::move(*this);
  }
  FieldBuilder at_most(double bound) && {
    constraints.maximum = bound;
    return std::move(*this);
  }
  FieldBuilder above(double bound) && {
    constraints.minimum = bound;
    constraints.exclusive_minimum = true;
    return std::move(*this);
  }
  FieldBuilder below(double bound) && {
    constraints.maximum = bound;
    constraints.exclusive_maximum = true;
    return std::move(*this);
  }
  FieldBuilder one_of(std::vector<std::string> names) && {
    constraints.choices = std::move(names);
    return std::move(*this);
  }
  FieldBuilder one_of(std::initializer_list<std::int64_t> values) && {
    constraints.numbers = values;
    return std::move(*this);
  }
  FieldBuilder size(std::size_t n) && {
    constraints.size = n;
    return std::move(*this);
  }
  FieldBuilder not_empty() && {
    constraints.min_size = 1;
    return std::move(*this);
  }
  FieldBuilder one_or_many() && {
    constraints.one_or_many = true;
    return std::move(*this);
  }
  FieldBuilder alias(std::string old_name) && {
    old_names.push_back(std::move(old_name));
    return std::move(*this);
  }
  FieldBuilder deprecated(std::string use) && {
    advice = std::move(use);
    return std::move(*this);
  }
};

template <class Options, class T>
FieldBuilder<Options, T> field(std::string key, T Options::*member, std::string doc) {
  return {std::move(key), member, std::move(doc)};
}

/// Fields of a base options struct followed by one's own: `join(DecodeHeadOptions::fields(), …)`.
template <class... A, class... B>
auto join(std::tuple<A...> base, B... own) {
  return std::tuple_cat(std::move(base), std::tuple<B...>(std::move(own)...));
}

namespace detail {

template <class Options, class Owner, class T>
Field erase(FieldBuilder<Owner, T> builder) {
  Field field;
  field.key = std::move(builder.key);
  field.doc = std::move(builder.doc);
  field.type = Codec<T>::type();
  field.constraints = builder.constraints;
  field.required = builder.is_required;
  field.aliases = std::move(builder.old_names);
  field.deprecated = std::move(builder.advice);
  field.parse = [member = builder.member, constraints = builder.constraints](
                    void* object, const Value& value, Binder& binder) {
    Codec<T>::parse(value, static_cast<Options*>(object)->*member, binder, constraints);
  };
  field.dump = [member = builder.member](const void* object, const void* base) {
    const T& value = static_cast<const Options*>(object)->*member;
    if constexpr (HasFields<T>) {
      const T* twin = base == nullptr ? nullptr : &(static_cast<const Options*>(base)->*member);
      return dump_against(schema_of<T>(), &value, twin);
    } else {
      return Codec<T>::dump(value, base == nullptr);
    }
  };
  return field;
}

template <class Options>
Schema make_schema() {
  Schema schema;
  std::apply(
      [&](auto... builders) {
        (schema.fields.push_back(erase<Options>(std::move(builders))), ...);
      },
      Options::fields());
  if constexpr (requires { Options::shorthand; }) schema.shorthand = Options::shorthand;
  schema.make = [] { return std::static_pointer_cast<void>(std::make_shared<Options>()); };
  return schema;
}

}  // namespace detail

/// The Schema of an options struct, made on first use.
template <class Options>
const Schema& schema_of() {
  static const Schema schema = detail::make_schema<Options>();
  return schema;
}

}  // namespace strata::config
