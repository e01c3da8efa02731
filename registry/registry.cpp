#include "registry/registry.hpp"

#include <algorithm>
#include <stdexcept>

namespace strata {

ComponentEntry::~ComponentEntry() = default;
Registry::Registry() = default;
Registry::~Registry() = default;

namespace {

constexpr std::size_t kListLimit = 12;  // names that a message lists

std::string with_article(const std::string& kind) {
  const bool vowel = !kind.empty() && std::string("aeiou").find(kind[0]) != std::string::npos;
  return (vowel ? "an " : "a ") + kind;
}

}  // namespace

void Registry::insert(std::unique_ptr<ComponentEntry> entry) {
  if (entry->origin.empty()) entry->origin = origin_;
  std::vector<std::string> names = entry->aliases;
  names.push_back(entry->name);
  for (const std::string& name : names) {
    if (const ComponentEntry* taken = find(entry->kind, name)) {
      throw std::logic_error(entry->kind + " \"" + name + "\" is registered twice: by " +
                             taken->origin + " and by " + entry->origin);
    }
  }
  const std::string name = entry->name;
  entries_[entry->kind][name] = std::move(entry);
}

void Registry::merge(Registry&& staged) {
  std::string clashes;
  for (const auto& [kind, entries] : staged.entries_) {
    for (const auto& [name, entry] : entries) {
      std::vector<std::string> names = entry->aliases;
      names.push_back(name);
      for (const std::string& each : names) {
        const ComponentEntry* taken = find(kind, each);
        if (taken == nullptr) continue;
        clashes += (clashes.empty() ? "" : ", ") + with_article(kind) + " named \"" + each +
                   "\" is there already, from " + taken->origin;
      }
    }
  }
  if (!clashes.empty())
    throw PluginError(staged.origin_ + ": " + clashes + "; rename or leave out one of them");
  for (auto& [kind, entries] : staged.entries_) entries_[kind].merge(entries);
  staged.entries_.clear();
}

const ComponentEntry* Registry::find(const std::string& kind, const std::string& name) const {
  const auto of_kind = entries_.find(kind);
  if (of_kind == entries_.end()) return nullptr;
  if (const auto found = of_kind->second.find(name); found != of_kind->second.end()) {
    return found->second.get();
  }
  for (const auto& [_, entry] : of_kind->second) {
    const auto& aliases = entry->aliases;
    if (std::find(aliases.begin(), aliases.end(), name) != aliases.end()) return entry.get();
  }
  return nullptr;
}

std::string Registry::explain_missing(const std::string& kind, const std::string& name) const {
  for (const auto& [other, entries] : entries_) {
    if (other != kind && find(other, name) != nullptr) {
      return "\"" + name + "\" is " + with_article(other) + ", " + with_article(kind) +
             " is needed here";
    }
  }
  const std::vector<std::string> known = names(kind);
  const std::string text = "no " + kind + " is named \"" + name + "\"";
  if (known.empty()) return text + "; none is registered, does a plugin have it?";
  if (const std::string hint = did_you_mean(name, known); !hint.empty()) return text + hint;
  if (known.size() > kListLimit) {
    return text + "; `list " + kind + "` names all " + std::to_string(known.size());
  }
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "\"" : ", \"") + each + "\"";
  return text + "; known: " + list;
}

std::vector<std::string> Registry::kinds() const {
  std::vector<std::string> out;
  for (const auto& [kind, entries] : entries_) {
    if (!entries.empty()) out.push_back(kind);
  }
  return out;
}

std::vector<std::string> Registry::names(const std::string& kind) const {
  std::vector<std::string> out;
  if (const auto found = entries_.find(kind); found != entries_.end()) {
    for (const auto& [name, _] : found->second) out.push_back(name);
  }
  return out;
}

}  // namespace strata
