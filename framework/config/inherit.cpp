// `_base_`, merging and `--set`.
#include "framework/config/inherit.hpp"

#include <algorithm>
#include <filesystem>

#include "framework/config/toml_reader.hpp"

namespace strata::config::detail {

namespace fs = std::filesystem;

namespace {

constexpr const char* kDelete = "_delete_";
constexpr const char* kOverride = "--set ";

void append_history(History& history, const History& later) {
  for (const auto& [key, changes] : later) {
    auto& all = history[key];
    all.insert(all.end(), changes.begin(), changes.end());
  }
}

bool is_override(const Origin& origin) {
  return origin.line == 0 && origin.source.starts_with(kOverride);
}

// Takes `_delete_` out of a table: whether it asks to clear what was there, and where it says so.
bool take_delete(Value& value, const std::string& path, Origin& where,
                 std::vector<Problem>& problems) {
  Table* table = value.as_table();
  const Value* flag = table == nullptr ? nullptr : table->find(kDelete);
  if (flag == nullptr) return false;
  const bool clear = flag->as_bool() != nullptr && *flag->as_bool();
  if (!clear) {
    problems.push_back({flag->origin, join_path(path, kDelete),
                        "must be true (it clears what the bases put here), got " + flag->str()});
  }
  where = flag->origin;
  table->erase(kDelete);
  return clear;
}

// A table that nothing is under: its own `_delete_` has nothing to clear, and neither has one
// deeper.
void strip_deletes(Value& value, const std::string& path, std::vector<Problem>& problems) {
  Origin where;
  take_delete(value, path, where, problems);
  if (Table* table = value.as_table()) {
    for (Entry& entry : table->entries()) {
      strip_deletes(entry.value, join_path(path, entry.key), problems);
    }
  } else if (Array* array = value.as_array()) {
    for (std::size_t i = 0; i < array->size(); ++i) {
      strip_deletes((*array)[i], join_path(path, std::to_string(i)), problems);
    }
  }
}

// The position of `over`'s `type` when it names another type than `base`'s, else nullptr.
const Value* changed_type(const Table& base, const Table& over) {
  const Value* before = base.find("type");
  const Value* after = over.find("type");
  return before != nullptr && after != nullptr && !(*before == *after) ? after : nullptr;
}

// Drops what belongs to the old type when `type` changes; what --set wrote stays, in any order.
void drop_old_type(Table& base, const std::string& path, const Origin& where, History& history) {
  std::vector<std::string> dropped;
  for (const Entry& entry : base.entries()) {
    if (entry.key == "type" || (is_override(where) && is_override(entry.value.origin))) continue;
    record_removal(entry.value, join_path(path, entry.key), where, history);
    dropped.push_back(entry.key);
  }
  for (const std::string& key : dropped) base.erase(key);
}

}  // namespace

void record(const Value& value, const std::string& path, History& history) {
  if (const Table* table = value.as_table(); table != nullptr && !table->empty()) {
    for (const Entry& entry : table->entries()) {
      if (entry.key != kDelete) record(entry.value, join_path(path, entry.key), history);
    }
  } else {
    history[path].push_back({Change::Action::set, value.origin, value});
  }
}

void record_removal(const Value& value, const std::string& path, const Origin& where,
                    History& history) {
  if (const Table* table = value.as_table(); table != nullptr && !table->empty()) {
    for (const Entry& entry : table->entries()) {
      record_removal(entry.value, join_path(path, entry.key), where, history);
    }
  } else {
    history[path].push_back({Change::Action::removed, where, value});
  }
}

void merge(Value& base, Value over, const std::string& path, History& history,
           std::vector<Problem>& problems) {
  Table& target = *base.as_table();
  if (const Value* type = changed_type(target, *over.as_table())) {
    drop_old_type(target, path, type->origin, history);
  }
  for (Entry& entry : over.as_table()->entries()) {
    const std::string key_path = join_path(path, entry.key);
    Value* old = target.find(entry.key);
    Origin where;
    const bool had_delete = take_delete(entry.value, key_path, where, problems);
    const bool merges = old != nullptr && old->as_table() != nullptr &&
                        entry.value.as_table() != nullptr && !had_delete;
    if (merges) {
      merge(*old, std::move(entry.value), key_path, history, problems);
      continue;
    }
    if (old != nullptr && (old->as_table() != nullptr || had_delete)) {
      record_removal(*old, key_path, had_delete ? where : entry.value.origin, history);
    }
    if (had_delete && entry.value.as_table()->empty()) {  // alone: the entry itself goes
      target.erase(entry.key);
      continue;
    }
    strip_deletes(entry.value, key_path, problems);
    target.set(entry.key, std::move(entry.value), entry.key_origin);
  }
  base.origin = over.origin;
  base.folder = over.folder;
}

// ---------------------------------------------------------------------------------------------
// Files

std::vector<std::string> Inheritance::bases_of(Value& own, const std::string& folder,
                                               std::vector<Origin>& origins) {
  std::vector<std::string> paths;
  const Value* written = own.as_table()->find("_base_");
  if (written == nullptr) return paths;
  auto add = [&](const Value& value, const std::string& path) {
    if (const std::string* text = value.as_string()) {
      paths.push_back((fs::path(folder) / *text).lexically_normal().string());
      origins.push_back(value.origin);
    } else {
      document_.problems.push_back(
          {value.origin, path, "must be a file name or an array of them, got " + value.str()});
    }
  };
  if (const Array* array = written->as_array()) {
    for (std::size_t i = 0; i < array->size(); ++i) add((*array)[i], "_base_." + std::to_string(i));
  } else {
    add(*written, "_base_");
  }
  own.as_table()->erase("_base_");
  return paths;
}

Value Inheritance::read(const std::string& path, const Origin& asked_from, History& history) {
  std::error_code code;
  const std::string key = fs::weakly_canonical(path, code).string();
  if (std::find(chain_.begin(), chain_.end(), key) != chain_.end()) {
    std::string circle;
    for (auto it = std::find(chain_.begin(), chain_.end(), key); it != chain_.end(); ++it) {
      circle += fs::path(*it).filename().string() + " -> ";
    }
    throw ConfigError(
        {{asked_from, "_base_",
          "files are based on each other: " + circle + fs::path(path).filename().string()}});
  }
  Value own = [&] {
    try {
      return read_toml_file(path, asked_from);
    } catch (const ConfigError& error) {
      if (asked_from.source.empty() || error.problems().front().where.source == path) throw;
      Problem problem = error.problems().front();
      problem.path = "_base_";
      throw ConfigError({problem});
    }
  }();
  chain_.push_back(key);
  Value tree = compose(std::move(own), path, fs::path(path).parent_path().string(), history);
  chain_.pop_back();
  return tree;
}

Value Inheritance::compose(Value own, const std::string& path, const std::string& folder,
                           History& history) {
  std::vector<Origin> origins;
  const std::vector<std::string> bases = bases_of(own, folder, origins);
  Value tree{Table{}, own.origin};
  for (std::size_t i = 0; i < bases.size(); ++i) {
    History own_history;
    Value base = read(bases[i], origins[i], own_history);
    merge(tree, std::move(base), "", history, document_.problems);
    append_history(history, own_history);
  }
  History own_history;
  record(own, "", own_history);
  own_history.erase("");
  merge(tree, std::move(own), "", history, document_.problems);
  append_history(history, own_history);
  auto& files = document_.files;
  if (std::find(files.begin(), files.end(), path) == files.end()) files.push_back(path);
  return tree;
}

// ---------------------------------------------------------------------------------------------
// --set

namespace {

// The end of the key part: the first '=' outside quotes.
std::size_t key_end(const std::string& text) {
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quote != 0) {
      if (text[i] == quote) quote = 0;
    } else if (text[i] == '"' || text[i] == '\'') {
      quote = text[i];
    } else if (text[i] == '=') {
      return i;
    }
  }
  return std::string::npos;
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \t");
  const auto end = text.find_last_not_of(" \t");
  return begin == std::string::npos ? "" : text.substr(begin, end - begin + 1);
}

Value override_value(const std::string& text, const Origin& origin, Document& document) {
  std::string why;
  if (auto value = parse_toml_value(text, origin, &why)) return std::move(*value);
  if (!text.empty() && std::string("[{\"'").find(text[0]) != std::string::npos) {
    document.problems.push_back(
        {origin, "",
         "not a TOML value: " + why + ", got " + text +
             "; inside brackets and braces strings need quotes, for instance "
             "'[\"a\", \"b\"]'"});
    Value broken{Value::Data(text), origin};
    broken.reported = true;
    return broken;
  }
  return Value{Value::Data(text), origin};  // a bare word is a string
}

// One step down an array; nullptr after reporting.
Value* array_step(Array& array, const std::string& segment, const std::string& path,
                  const Origin& origin, Document& document) {
  if (segment == "+") {
    array.push_back(Value{{}, origin});
    return &array.back();
  }
  const std::int64_t index = array_index(segment, array.size());
  if (index >= 0) return &array[static_cast<std::size_t>(index)];
  const std::string size = std::to_string(array.size());
  document.problems.push_back(
      {origin, path,
       "is an array of " + size + (array.size() == 1 ? " element" : " elements") +
           ", which needs an index, got \"" + segment + "\"; indices start at 0, + appends"});
  return nullptr;
}

}  // namespace

void apply_override(const std::string& text, Document& document, Value& root) {
  const std::size_t split = key_end(text);
  const std::string key = trimmed(text.substr(0, split));
  const Origin origin{kOverride + key, 0, 0};
  if (split == std::string::npos || key.empty()) {
    document.problems.push_back({{"--set", 0, 0}, "", "needs KEY=VALUE, got \"" + text + "\""});
    return;
  }
  std::vector<std::string> segments = split_path(key);
  Value over = override_value(trimmed(text.substr(split + 1)), origin, document);
  if (segments.size() > 1 && segments.back() == kDelete) {  // a.b._delete_=true is a.b={...}
    Value flag = std::move(over);
    over = Value{Table{}, origin};
    over.as_table()->set(kDelete, std::move(flag), origin);
    segments.pop_back();
  }

  // Walk to the holder of the last segment, making tables on the way.
  Value* holder = &root;
  std::string path;
  for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
    if (Array* array = holder->as_array()) {
      holder = array_step(*array, segments[i], path, origin, document);
      if (holder == nullptr) return;
      if (holder->is_null()) holder->data = Table{};
    } else if (Table* table = holder->as_table()) {
      Value* next = table->find(segments[i]);
      if (next == nullptr) next = &table->set(segments[i], Value{Table{}, origin}, origin);
      holder = next;
    }
    path = join_path(path, segments[i]);
    if (holder->as_array() == nullptr && holder->as_table() == nullptr) {
      document.problems.push_back(
          {origin, path, "must be a table or an array to have keys, got " + holder->str()});
      return;
    }
  }

  const std::string& last = segments.back();
  if (Array* array = holder->as_array()) {
    Value* element = array_step(*array, last, path, origin, document);
    if (element == nullptr) return;
    const std::string index = std::to_string(element - array->data());
    record(over, join_path(path, index), document.history);
    if (element->as_table() != nullptr && over.as_table() != nullptr) {
      merge(*element, std::move(over), join_path(path, index), document.history, document.problems);
    } else {
      *element = std::move(over);
    }
    return;
  }
  if (path == "vars" && !holder->as_table()->contains(last)) {
    std::vector<std::string> known;
    for (const Entry& entry : holder->as_table()->entries()) known.push_back(entry.key);
    document.problems.push_back(
        {origin, join_path(path, last), "no file has this variable" + did_you_mean(last, known)});
    return;
  }
  Value wrapper{Table{}, holder->origin};
  wrapper.folder = holder->folder;
  wrapper.as_table()->set(last, over, origin);
  History own_history;
  record(wrapper, path, own_history);
  merge(*holder, std::move(wrapper), path, document.history, document.problems);
  append_history(document.history, own_history);
}

}  // namespace strata::config::detail
