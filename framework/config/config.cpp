#include "framework/config/config.hpp"

#include <algorithm>
#include <set>

#include "framework/config/inherit.hpp"
#include "framework/config/toml_reader.hpp"

namespace strata::config {

namespace {

// Everything that follows once the files are one tree.
void finish(Document& document, Value tree, const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) detail::apply_override(text, document, tree);
  document.root = detail::resolve_references(tree, document);
  document.written = std::move(tree);
  if (const Value* vars = document.root.at("vars")) {
    document.vars = *vars;
    document.root.as_table()->erase("vars");
  }
}

// Problems that one cause made twice (a base that two files include).
void drop_repeated(std::vector<Problem>& problems) {
  std::set<std::string> known;
  std::erase_if(problems,
                [&](const Problem& problem) { return !known.insert(problem.str()).second; });
}

}  // namespace

Document load(const std::string& path, const std::vector<std::string>& overrides) {
  Document document;
  Value tree = detail::Inheritance(document).read(path, {}, document.history);
  finish(document, std::move(tree), overrides);
  drop_repeated(document.problems);
  return document;
}

Document load_text(const std::string& text, const std::string& name,
                   const std::vector<std::string>& overrides, const std::string& folder) {
  Document document;
  Value own = parse_toml(text, name, folder);
  Value tree =
      detail::Inheritance(document).compose(std::move(own), name, folder, document.history);
  finish(document, std::move(tree), overrides);
  return document;
}

void throw_if_any(std::vector<Problem> problems) {
  if (problems.empty()) return;
  drop_repeated(problems);
  throw ConfigError(std::move(problems));
}

namespace {

void collect_leaves(const Value& value, const std::string& path,
                    std::vector<std::pair<std::string, const Value*>>& out) {
  const Table* table = value.as_table();
  if (table == nullptr || (table->empty() && !path.empty())) {
    out.emplace_back(path, &value);
    return;
  }
  for (const Entry& entry : table->entries()) {
    collect_leaves(entry.value, join_path(path, entry.key), out);
  }
}

std::string where_text(const Origin& origin) {
  return origin.source.empty() ? "default" : origin.str();
}

bool is_below(const std::string& key, const std::string& path) {
  return path.empty() || key == path ||
         (key.size() > path.size() && key.starts_with(path) && key[path.size()] == '.');
}

// One key's chain, and what references make of its last value.
std::string chain_text(const Document& document, const std::string& key,
                       const std::vector<Change>& changes) {
  std::string text = key + "\n";
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const Change& change = changes[i];
    const bool removed = change.action == Change::Action::removed;
    text += "  " + where_text(change.where) + ": " +
            (removed ? "removed" : "set to " + change.value.str()) + "\n";
  }
  const bool is_var = key.starts_with("vars.");
  const Value* now = is_var ? document.vars.at(key.substr(5)) : document.root.at(key);
  if (now == nullptr) return text + "  now: not set\n";
  const Value* written = document.written.at(key);
  if (written != nullptr && !(*written == *now)) {
    text += "  now: " + now->str() + (now->via.empty() ? "" : ", through " + now->via) + "\n";
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, const Value*>> leaves(const Value& root) {
  std::vector<std::pair<std::string, const Value*>> out;
  collect_leaves(root, "", out);
  return out;
}

std::string explain(const Document& document, const std::string& path) {
  std::string text;
  for (const auto& [key, changes] : document.history) {
    // Below the key, the key itself, or an array around it.
    if (is_below(key, path) || is_below(path, key)) text += chain_text(document, key, changes);
  }
  if (!text.empty()) return text;
  std::vector<std::string> known;
  for (const auto& [key, changes] : document.history) {
    for (std::string prefix = key;; prefix.resize(prefix.rfind('.'))) {
      if (std::find(known.begin(), known.end(), prefix) == known.end()) known.push_back(prefix);
      if (prefix.find('.') == std::string::npos) break;
    }
  }
  throw UserError(path + ": nothing in this config sets it" + did_you_mean(path, known));
}

std::string diff(const Document& a, const Document& b) {
  const auto left = leaves(a.root);
  const auto right = leaves(b.root);
  auto line = [](char sign, const std::string& key, const Value& value) {
    return std::string(1, sign) + " " + key + " = " + value.str() + "  # " +
           where_text(value.origin) + "\n";
  };
  std::string text;
  for (const auto& [key, value] : left) {
    const Value* other = b.root.at(key);
    if (other != nullptr && *other == *value) continue;
    text += line('-', key, *value);
    if (other != nullptr && other->as_table() == nullptr) text += line('+', key, *other);
  }
  for (const auto& [key, value] : right) {
    const Value* other = a.root.at(key);
    if (other == nullptr || other->as_table() != nullptr) {
      if (other == nullptr || !(*other == *value)) text += line('+', key, *value);
    }
  }
  return text;
}

}  // namespace strata::config
