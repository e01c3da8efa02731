#include "framework/config/schema.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <set>

namespace strata::config {

namespace fs = std::filesystem;

ComponentType::~ComponentType() = default;
ComponentCatalog::~ComponentCatalog() = default;

Constraints Constraints::of_element() const {
  Constraints inner = *this;
  inner.size.reset();
  inner.min_size.reset();
  inner.one_or_many = false;
  return inner;
}

const Field* Schema::find(const std::string& key) const {
  for (const Field& field : fields) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

namespace {

constexpr std::size_t kQuoteLimit = 80;  // characters of a value that a message quotes
constexpr std::size_t kListLimit = 12;   // names that a message lists

// Ends a path whose next segment is no index: the user wrote one element without brackets.
constexpr char kLone = '\x01';

std::string short_text(const Value& value) {
  std::string text = value.str();
  if (text.size() <= kQuoteLimit) return text;
  std::size_t end = kQuoteLimit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // whole UTF-8
  return text.substr(0, end) + "...";
}

std::string via_note(const Value& value) {
  return value.via.empty() ? "" : " (through " + value.via + ")";
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
  return text;
}

std::string number_text(double number) {
  char buffer[40];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr};
}

// "" when `number` is inside the bounds, else "must be at least 1 and below 5".
std::string outside(double number, const Constraints& c) {
  const bool low_ok =
      !c.minimum || (c.exclusive_minimum ? number > *c.minimum : number >= *c.minimum);
  const bool high_ok =
      !c.maximum || (c.exclusive_maximum ? number < *c.maximum : number <= *c.maximum);
  if (low_ok && high_ok) return "";
  if (c.minimum && c.maximum && !c.exclusive_minimum && !c.exclusive_maximum) {
    return "must be between " + number_text(*c.minimum) + " and " + number_text(*c.maximum);
  }
  std::string text = "must be ";
  if (c.minimum) text += (c.exclusive_minimum ? "above " : "at least ") + number_text(*c.minimum);
  if (c.minimum && c.maximum) text += " and ";
  if (c.maximum) text += (c.exclusive_maximum ? "below " : "at most ") + number_text(*c.maximum);
  return text;
}

// Text from the environment read as a number or a flag, when the whole of it is one.
template <class T>
std::optional<T> from_text(const Value& value) {
  const std::string* text = value.as_string();
  if (text == nullptr || !value.loose) return std::nullopt;
  T out{};
  const char* end = text->data() + text->size();
  const auto result = std::from_chars(text->data(), end, out);
  if (text->empty() || result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return out;
}

std::string element_count(std::size_t n) {
  return std::to_string(n) + (n == 1 ? " element" : " elements");
}

}  // namespace

// ---------------------------------------------------------------------------------------------
// Binder

void Binder::error(const Origin& where, std::string what) {
  problems.push_back({where, path_, std::move(what)});
}

void Binder::warning(const Origin& where, std::string what) {
  warnings.push_back({where, path_, std::move(what)});
}

void Binder::reject(const Value& value, const std::string& what, const std::string& cure) {
  if (value.reported) return;
  error(value.origin, what + ", got " + short_text(value) + cure + via_note(value));
}

void Binder::inside(const std::string& key, const std::function<void()>& body) {
  if (path_.ends_with(kLone)) {  // the one element is where the array would be
    path_.pop_back();
    body();
    return;
  }
  const std::size_t length = path_.size();
  path_ = join_path(path_, key);
  body();
  path_.resize(length);
}

void Binder::bind(const Schema& schema, void* object, const Value& value, const char* skip) {
  if (value.reported) return;
  const Table* table = value.as_table();
  if (table == nullptr) {
    const Field* field = schema.shorthand.empty() ? nullptr : schema.find(schema.shorthand);
    if (field == nullptr) return reject(value, "must be a table");
    return field->parse(object, value, *this);
  }

  std::set<std::string> given;
  for (const Entry& entry : table->entries()) {
    if (skip != nullptr && entry.key == skip) continue;
    const Field* field = schema.find(entry.key);
    inside(entry.key, [&] {
      for (const Field& candidate : schema.fields) {
        if (field != nullptr) break;
        const auto& old = candidate.aliases;
        if (std::find(old.begin(), old.end(), entry.key) == old.end()) continue;
        field = &candidate;
        warning(entry.key_origin, "is the old name of \"" + candidate.key + "\"");
      }
      if (field == nullptr) {
        std::vector<std::string> known;
        for (const Field& candidate : schema.fields) {
          if (candidate.deprecated.empty()) known.push_back(candidate.key);
        }
        std::string hint = did_you_mean(entry.key, known);
        if (hint.empty() && known.empty()) hint = "; no keys are known here";
        if (hint.empty() && known.size() <= kListLimit) {
          hint = "; known keys: " + quoted_list(known);
        } else if (const Value* type = table->find("type"); hint.empty() && skip && type) {
          hint = "; `describe " + *type->as_string() + "` lists the known ones";
        }
        error(entry.key_origin, "unknown key" + hint);
        return;
      }
      if (!given.insert(field->key).second) {
        error(entry.key_origin, "is the old name of \"" + field->key + "\", which is set as well");
        return;
      }
      if (!field->deprecated.empty()) {
        warning(entry.key_origin, "is going away; " + field->deprecated);
      }
      if (!entry.value.reported) field->parse(object, entry.value, *this);
    });
  }
  for (const Field& field : schema.fields) {
    if (!field.required || given.contains(field.key)) continue;
    inside(field.key, [&] {
      error(value.origin, "required key is missing (" + field.doc + ")" + via_note(value));
    });
  }
}

void Binder::bind_slot(const std::string& kind, AnySlot& slot, const Value& value) {
  if (value.reported) return;
  const Table* table = value.as_table();
  const Value* type = table != nullptr ? table->find("type") : &value;
  if (type != nullptr && type->reported) return;
  if (type == nullptr) {
    const std::vector<std::string> names = catalog_.names(kind);
    const std::string list =
        names.empty() || names.size() > kListLimit ? "" : "; known: " + quoted_list(names);
    return error(value.origin,
                 "no \"type\" says which " + kind + " this is" + list + via_note(value));
  }
  const std::string* name = type->as_string();
  if (name == nullptr) {
    const std::string what = table != nullptr
                                 ? "type must be the name of a " + kind
                                 : "must be a table with a \"type\", or the name of a " + kind;
    return reject(*type, what);
  }
  const ComponentType* found = catalog_.find(kind, *name);
  if (found == nullptr) {
    return error(type->origin, catalog_.explain_missing(kind, *name) + via_note(*type));
  }
  if (found->name != *name) {
    warning(type->origin, "\"" + *name + "\" is the old name of \"" + found->name + "\"");
  }
  slot.type = found;
  slot.options = found->schema->make();
  slot.path = path_;
  slot.source = value;
  if (table == nullptr) {
    slot.source.data = Table{};
    slot.source.as_table()->set("type", *type, type->origin);
  }
  bind(*found->schema, slot.options.get(), slot.source, "type");
}

bool Binder::read(const Value& value, bool& out, const Constraints&) {
  if (const bool* flag = value.as_bool()) {
    out = *flag;
    return true;
  }
  if (const std::string* text = value.as_string(); text != nullptr && value.loose) {
    if (*text == "true" || *text == "false") {
      out = *text == "true";
      return true;
    }
  }
  reject(value, "must be true or false");
  return false;
}

bool Binder::read(const Value& value, std::int64_t& out, const Constraints& constraints) {
  const auto text_number = from_text<std::int64_t>(value);
  const std::int64_t* integer = text_number ? &*text_number : value.as_integer();
  if (integer == nullptr) {
    reject(value, "must be an integer");
    return false;
  }
  const auto& numbers = constraints.numbers;
  if (!numbers.empty() && std::find(numbers.begin(), numbers.end(), *integer) == numbers.end()) {
    std::string list;
    for (const std::int64_t n : numbers) list += (list.empty() ? "" : ", ") + std::to_string(n);
    reject(value, "must be one of " + list);
    return false;
  }
  if (const auto what = outside(static_cast<double>(*integer), constraints); !what.empty()) {
    reject(value, what);
    return false;
  }
  out = *integer;
  return true;
}

bool Binder::read(const Value& value, double& out, const Constraints& constraints) {
  std::optional<double> number = from_text<double>(value);
  if (const double* written = value.as_float()) number = *written;
  if (const std::int64_t* integer = value.as_integer()) number = static_cast<double>(*integer);
  if (!number) {
    reject(value, "must be a number");
    return false;
  }
  if (const auto what = outside(*number, constraints); !what.empty()) {
    reject(value, what);
    return false;
  }
  out = *number;
  return true;
}

bool Binder::read(const Value& value, std::string& out, const Constraints& constraints) {
  const std::string* text = value.as_string();
  if (text == nullptr) {
    reject(value, "must be a string");
    return false;
  }
  const auto& choices = constraints.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), *text) == choices.end()) {
    const std::string what =
        choices.size() <= kListLimit ? "must be one of " + quoted_list(choices) : "unknown value";
    reject(value, what, did_you_mean(*text, choices));
    return false;
  }
  out = *text;
  return true;
}

bool Binder::read(const Value& value, Path& out, const Constraints& constraints) {
  std::string text;
  if (!read(value, text, constraints)) return false;
  out = Path{text, text};
  if (text.empty()) return true;
  if (text == "~" || text.starts_with("~/")) {
    const char* home = std::getenv("HOME");
    if (home != nullptr) out.resolved = home + text.substr(1);
  } else if (!value.folder.empty()) {
    out.resolved = (fs::path(value.folder) / text).string();  // an absolute `text` stays
  }
  out.resolved = fs::path(out.resolved).lexically_normal().string();
  return true;
}

std::optional<std::vector<const Value*>> Binder::elements(const Value& value,
                                                          const Constraints& constraints) {
  if (value.reported) return std::nullopt;
  const Array* array = value.as_array();
  std::vector<const Value*> out;
  bool is_lone = false;
  if (array != nullptr) {
    for (const Value& element : *array) out.push_back(&element);
  } else if (constraints.one_or_many) {
    out.push_back(&value);
    is_lone = true;
  } else {
    const std::string cure =
        value.as_table() == nullptr ? "; write it in brackets: [" + short_text(value) + "]" : "";
    reject(value, "must be an array", cure);
    return std::nullopt;
  }
  if (constraints.size && out.size() != *constraints.size) {
    reject(value, "must have " + element_count(*constraints.size));
    return std::nullopt;
  }
  if (constraints.min_size && out.size() < *constraints.min_size) {
    reject(value, *constraints.min_size == 1
                      ? "must not be empty"
                      : "must have at least " + element_count(*constraints.min_size));
    return std::nullopt;
  }
  if (is_lone) path_ += kLone;  // taken away by the inside() that follows for the element
  return out;
}

const Table* Binder::table(const Value& value) {
  const Table* table = value.as_table();
  if (table == nullptr) reject(value, "must be a table");
  return table;
}

// ---------------------------------------------------------------------------------------------

Problem AnySlot::problem(const std::string& key, const std::string& what) const {
  if (key.empty()) return {source.origin, path, what};
  std::string full = path;
  for (const std::string& segment : split_path(key)) full = join_path(full, segment);
  const Value* value = source.at(key);
  if (value == nullptr) return {source.origin, full, what};
  const bool says_got = what.find(", got ") != std::string::npos || what.starts_with("is ");
  return {value->origin, full,
          what + (says_got ? "" : ", got " + short_text(*value)) + via_note(*value)};
}

Value dump_path(const Path& path) {
  if (path.empty()) return Value{Value::Data(std::string())};
  return Value{Value::Data(fs::absolute(path.resolved).lexically_normal().string())};
}

Value dump_against(const Schema& schema, const void* object, const void* base) {
  Table table;
  const std::shared_ptr<void> fresh = schema.make();
  for (const Field& field : schema.fields) {
    Value value = field.dump(object, nullptr);
    if (value.is_null()) continue;
    const void* reference = base != nullptr ? base : fresh.get();
    const bool same = value == field.dump(reference, nullptr);
    if (same && !field.required && (base != nullptr || !field.deprecated.empty())) continue;
    table.set(field.key, base != nullptr ? field.dump(object, base) : std::move(value));
  }
  return Value{std::move(table)};
}

Value dump_object(const Schema& schema, const void* object, bool full) {
  const std::shared_ptr<void> fresh = schema.make();
  return dump_against(schema, object, full ? nullptr : fresh.get());
}

Value dump_slot(const AnySlot& slot, bool full) {
  if (!slot) return {};
  Table table;
  table.set("type", Value{Value::Data(slot.type->name)});
  const Value options = dump_object(*slot.type->schema, slot.options.get(), full);
  for (const Entry& entry : options.as_table()->entries()) table.set(entry.key, entry.value);
  return Value{std::move(table)};
}

}  // namespace strata::config
