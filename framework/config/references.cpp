// `${a.b}`, `${env:NAME}`, `${env:NAME:-default}` and `$$`, resolved on the finished tree.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>

#include "framework/config/inherit.hpp"

namespace strata::config::detail {

namespace {

// Bounds what references to references can grow to: values and characters that they bring.
constexpr std::size_t kMaxGrowth = 1'000'000;
// Of tables and references inside of each other, a few stack frames each.
constexpr int kMaxDepth = 500;

std::size_t weight(const Value& value) {
  if (const std::string* text = value.as_string()) return 1 + text->size();
  std::size_t sum = 1;
  if (const Array* array = value.as_array()) {
    for (const Value& element : *array) sum += weight(element);
  }
  if (const Table* table = value.as_table()) {
    for (const Entry& entry : table->entries()) sum += weight(entry.value);
  }
  return sum;
}

class Resolver {
 public:
  Resolver(const Value& root, Document& document) : root_(root), document_(document) {}

  Value resolve(const Value& raw, const std::string& path) {
    if (raw.reported) return raw;
    if (raw.as_string() != nullptr) return resolve_string(raw, path);
    const Depth deeper(depth_);
    if (depth_ > kMaxDepth) return broken(raw, path, "references lead too deep");
    Value out = shell(raw);
    if (const Array* array = raw.as_array()) {
      out.data = Array{};
      for (std::size_t i = 0; i < array->size(); ++i) {
        out.as_array()->push_back(resolve((*array)[i], join_path(path, std::to_string(i))));
      }
    } else if (const Table* table = raw.as_table()) {
      out.data = Table{};
      for (const Entry& entry : table->entries()) {
        out.as_table()->set(entry.key, resolve(entry.value, join_path(path, entry.key)),
                            entry.key_origin);
      }
    } else {
      out.data = raw.data;
    }
    return out;
  }

  bool is_used(const std::string& variable) const { return used_variables_.contains(variable); }

 private:
  struct Depth {
    explicit Depth(int& depth) : count(depth) { ++count; }
    ~Depth() { --count; }
    int& count;
  };

  static Value shell(const Value& raw) {
    Value out{{}, raw.origin};
    out.folder = raw.folder;
    out.via = raw.via;
    out.loose = raw.loose;
    return out;
  }

  Value broken(const Value& raw, const std::string& path, const std::string& what) {
    document_.problems.push_back({raw.origin, path, what});
    return reported(raw);
  }

  static Value reported(const Value& raw) {
    Value out = raw;
    out.reported = true;
    return out;
  }

  Value resolve_string(const Value& raw, const std::string& path) {
    if (raw.as_string()->find('$') == std::string::npos) return raw;
    if (growth_ > kMaxGrowth) return reported(raw);  // said once
    if (const auto known = done_.find(path); known != done_.end()) return known->second;
    const auto loop = std::find(in_progress_.begin(), in_progress_.end(), path);
    if (loop != in_progress_.end()) {
      std::string circle;
      for (auto it = loop; it != in_progress_.end(); ++it) circle += *it + " -> ";
      return broken(raw, path, "references go in a circle: " + circle + path);
    }
    in_progress_.push_back(path);
    Value out = expand(raw, path);
    in_progress_.pop_back();
    done_[path] = out;
    return out;
  }

  // The index after the brace that closes the one opened just before `begin`.
  static std::size_t close(const std::string& text, std::size_t begin) {
    int depth = 1;
    for (std::size_t i = begin; i < text.size(); ++i) {
      if (text.compare(i, 2, "${") == 0) ++depth;
      if (text[i] == '}' && --depth == 0) return i + 1;
    }
    return std::string::npos;
  }

  Value expand(const Value& raw, const std::string& path) {
    const Depth deeper(depth_);
    if (depth_ > kMaxDepth) return broken(raw, path, "references lead too deep");
    const std::string& text = *raw.as_string();
    Value out = shell(raw);
    std::string made;
    for (std::size_t i = 0; i < text.size();) {
      if (text.compare(i, 2, "$$") == 0) {
        made += '$';
        i += 2;
        continue;
      }
      if (text.compare(i, 2, "${") != 0) {
        made += text[i++];
        continue;
      }
      const std::size_t end = close(text, i + 2);
      if (end == std::string::npos) {
        return broken(raw, path,
                      "\"${\" is never closed, got " + raw.str() + "; a plain dollar is \"$$\"");
      }
      const std::optional<Value> part = reference(raw, path, text.substr(i + 2, end - i - 3));
      if (!part || part->reported) return reported(raw);
      if ((growth_ += weight(*part)) > kMaxGrowth) {
        return broken(raw, path, "references grow without end");
      }
      if (i == 0 && end == text.size()) {  // the whole string: keeps its type
        Value whole = *part;
        whole.origin = raw.origin;
        return whole;
      }
      if (part->as_table() != nullptr || part->as_array() != nullptr) {
        return broken(raw, path,
                      "an " + std::string(part->as_array() != nullptr ? "array" : "entire table") +
                          " cannot stand inside a longer string, got " + raw.str());
      }
      const std::string* inner = part->as_string();
      made += inner != nullptr ? *inner : part->str();
      if (i == 0) out.folder = part->folder;  // a path starts where its first part was written
      i = end;
    }
    out.data = std::move(made);
    return out;
  }

  // What stands between "${" and "}"; nullopt after reporting.
  std::optional<Value> reference(const Value& raw, const std::string& path, std::string name) {
    if (name.find("${") != std::string::npos) {  // a name that is made of references
      Value inner = shell(raw);
      inner.data = name;
      inner = expand(inner, path);
      if (inner.reported || inner.as_string() == nullptr) return std::nullopt;
      name = *inner.as_string();
    }
    if (name.starts_with("env:")) return environment(raw, path, name.substr(4));

    const std::vector<std::string> segments = split_path(name);
    if (segments.size() > 1 && segments[0] == "vars") used_variables_.insert(segments[1]);
    std::optional<Value> value = walk(raw, path, name, segments);
    if (value) value->via = "\"${" + name + "}\", set at " + value->origin.str();
    return value;
  }

  std::optional<Value> walk(const Value& raw, const std::string& path, const std::string& name,
                            const std::vector<std::string>& segments) {
    const Value* here = &root_;
    Value resolved;  // keeps a value alive that came out of a reference on the way
    bool is_resolved = false;
    std::string here_path;
    for (const std::string& segment : segments) {
      if (here->as_string() != nullptr && !is_resolved) {
        resolved = resolve_string(*here, here_path);
        if (resolved.reported) return std::nullopt;
        here = &resolved;
        is_resolved = true;
      }
      const Value* next = nullptr;
      if (const Table* table = here->as_table()) {
        next = table->find(segment);
      } else if (const Array* array = here->as_array()) {
        const std::int64_t index = array_index(segment, array->size());
        if (index >= 0) next = &(*array)[static_cast<std::size_t>(index)];
      }
      if (next == nullptr) {
        broken(raw, path,
               "reference to a key that is not there, got \"${" + name + "}\"" +
                   suggestion(*here, here_path, segment, segments));
        return std::nullopt;
      }
      if (is_resolved) {
        const Value inner = *next;  // `next` lives inside `resolved`
        resolved = inner;
        here = &resolved;
      } else {
        here = next;
      }
      here_path = join_path(here_path, segment);
    }
    return is_resolved ? *here : resolve(*here, here_path);
  }

  static std::string suggestion(const Value& here, const std::string& here_path,
                                const std::string& segment,
                                const std::vector<std::string>& segments) {
    std::vector<std::string> known;
    if (const Table* table = here.as_table()) {
      for (const Entry& entry : table->entries()) known.push_back(entry.key);
    }
    const std::string hint = did_you_mean(segment, known);
    if (hint.empty()) return "";
    // From the bare key to the whole reference that would have worked.
    const auto begin = hint.find('"') + 1;
    std::string full = join_path(here_path, hint.substr(begin, hint.rfind('"') - begin));
    for (std::size_t i = split_path(full).size(); i < segments.size(); ++i) {
      full = join_path(full, segments[i]);
    }
    return "; did you mean \"${" + full + "}\"?";
  }

  std::optional<Value> environment(const Value& raw, const std::string& path,
                                   const std::string& text) {
    const auto split = text.find(":-");
    const std::string name = text.substr(0, split);
    const char* set = std::getenv(name.c_str());
    Value out{{}, raw.origin};
    out.loose = true;
    if (set != nullptr) {
      out.data = std::string(set);
      out.via = "\"${env:" + text + "}\", set in the environment";
    } else if (split != std::string::npos) {
      out.data = text.substr(split + 2);
      out.folder = raw.folder;  // this text was written in the file
    } else {
      broken(raw, path,
             "the environment variable \"" + name + "\" is not set, got \"${env:" + text +
                 "}\"; set it, or give a default: \"${env:" + name + ":-default}\"");
      return std::nullopt;
    }
    return out;
  }

  const Value& root_;
  Document& document_;
  std::map<std::string, Value> done_;
  std::vector<std::string> in_progress_;
  std::set<std::string> used_variables_;
  std::size_t growth_ = 0;
  int depth_ = 0;
};

}  // namespace

Value resolve_references(const Value& root, Document& document) {
  Resolver resolver(root, document);
  Value out = resolver.resolve(root, "");
  const Value* vars = root.at("vars");
  if (vars == nullptr) return out;
  if (vars->as_table() == nullptr) {
    document.problems.push_back({vars->origin, "vars", "must be a table, got " + vars->str()});
    return out;
  }
  for (const Entry& entry : vars->as_table()->entries()) {
    if (resolver.is_used(entry.key)) continue;
    document.warnings.push_back({entry.key_origin, join_path("vars", entry.key),
                                 "no \"${vars." + entry.key + "}\" uses it"});
  }
  return out;
}

}  // namespace strata::config::detail
