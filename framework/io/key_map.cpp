#include "framework/io/key_map.hpp"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <unordered_set>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

constexpr std::size_t kMaxPrefixes = 16;

bool is_glob(const KeyRule& rule) { return rule.from.find('*') != std::string::npos; }

/// What the stars of `pattern` match of `name`, the first ones as little as they can; `*` stays
/// inside a segment, `**` is whole segments, at least one.
bool capture(std::string_view pattern, std::string_view name,
             std::vector<std::string_view>& stars) {
  if (pattern.empty()) return name.empty();
  if (pattern.front() != '*') {
    return !name.empty() && name.front() == pattern.front() &&
           capture(pattern.substr(1), name.substr(1), stars);
  }
  const bool wide = pattern.starts_with("**");
  const std::string_view rest = pattern.substr(wide ? 2 : 1);
  for (std::size_t size = wide ? 1 : 0; size <= name.size(); ++size) {
    if (!wide && size > 0 && name[size - 1] == '.') break;
    if (wide && size < name.size() && name[size] != '.') continue;
    stars.push_back(name.substr(0, size));
    if (capture(rest, name.substr(size), stars)) return true;
    stars.pop_back();
  }
  return false;
}

std::size_t count_stars(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '*') continue;
    ++count;
    if (i + 1 < text.size() && text[i + 1] == '*') ++i;
  }
  return count;
}

std::string substitute(std::string_view to, const std::vector<std::string_view>& stars) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (to[i] != '*') {
      out += to[i];
      continue;
    }
    out += stars.at(next++);
    if (i + 1 < to.size() && to[i + 1] == '*') ++i;
  }
  return out;
}

}  // namespace

KeyRule parse_rule(const std::string& text) {
  const auto trimmed = [](std::string part) {
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    return part;
  };
  const std::size_t arrow = text.find("=>");
  if (arrow == std::string::npos) {
    throw UserError("\"" + text + "\" is no rule for names, expected \"FROM => TO\"");
  }
  KeyRule rule{trimmed(text.substr(0, arrow)), trimmed(text.substr(arrow + 2))};
  if (rule.from.empty() || rule.to.empty()) {
    throw UserError("\"" + text + "\" is no rule for names: a side of it is empty");
  }
  if (count_stars(rule.to) > count_stars(rule.from)) {
    throw UserError("\"" + text + "\" has more stars on its right side than on its left");
  }
  return rule;
}

KeyRules::KeyRules(std::vector<KeyRule> rules) : rules_(std::move(rules)) {
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    if (is_glob(rules_[i])) {
      globs_.push_back(i);
    } else {
      prefixes_.emplace_back(rules_[i].from, i);
    }
  }
  std::sort(prefixes_.begin(), prefixes_.end());
}

std::optional<std::string> KeyRules::rename(const std::string& name, std::ptrdiff_t* used) const {
  std::size_t best = rules_.size();
  std::vector<std::string_view> stars;
  // Every beginning of the name that ends at a dot.
  for (std::size_t end = name.find('.');; end = name.find('.', end + 1)) {
    const std::string head = name.substr(0, end);
    const auto found = std::lower_bound(prefixes_.begin(), prefixes_.end(),
                                        std::pair<std::string, std::size_t>{head, 0});
    if (found != prefixes_.end() && found->first == head) best = std::min(best, found->second);
    if (end == std::string::npos) break;
  }
  for (const std::size_t i : globs_) {
    if (i > best) break;
    stars.clear();
    if (capture(rules_[i].from, name, stars)) {
      best = i;
      break;
    }
  }
  if (used != nullptr) *used = best == rules_.size() ? -1 : static_cast<std::ptrdiff_t>(best);
  if (best == rules_.size()) return name;
  const KeyRule& rule = rules_[best];
  if (rule.drop) return std::nullopt;
  return is_glob(rule) ? substitute(rule.to, stars) : rule.to + name.substr(rule.from.size());
}

namespace {

/// Tensors under their new names. Parts of one wait for each other, at the place of the first.
class Renamed {
 public:
  /// `place` as KeyRule::join. False for a later part of a tensor that is there already.
  bool add(const std::string& name, const at::Tensor& tensor, int place) {
    if (place == 0) {
      tensors_.emplace_back(name, tensor);
      return true;
    }
    auto& [at, parts] = joined_.try_emplace(name, tensors_.size(), Parts()).first->second;
    if (parts.empty()) tensors_.emplace_back(name, tensor);
    return parts.emplace(place, tensor).second && parts.size() == 1;
  }
  TensorMap take() {
    for (auto& [name, found] : joined_) {
      std::vector<at::Tensor> parts;
      for (auto& [place, tensor] : found.second) {
        const at::Tensor& first = parts.empty() ? tensor : parts.front();
        if (tensor.dim() == 0 || tensor.sizes().slice(1) != first.sizes().slice(1) ||
            tensor.scalar_type() != first.scalar_type()) {
          throw CheckpointError("the parts of \"" + name + "\" do not fit together");
        }
        parts.push_back(tensor);
      }
      tensors_[found.first].second = at::cat(parts, 0);
    }
    return std::move(tensors_);
  }

 private:
  using Parts = std::map<int, at::Tensor>;
  TensorMap tensors_;
  std::map<std::string, std::pair<std::size_t, Parts>> joined_;
};

}  // namespace

TensorMap KeyRules::rename(const TensorMap& tensors) const {
  Renamed renamed;
  for (const auto& [name, tensor] : tensors) {
    std::ptrdiff_t used = -1;
    const auto ours = rename(name, &used);
    if (ours) renamed.add(*ours, changed(tensor, used), place(used));
  }
  return renamed.take();
}

int KeyRules::place(std::ptrdiff_t used) const {
  return used < 0 ? 0 : rules_[static_cast<std::size_t>(used)].join;
}

at::Tensor KeyRules::changed(const at::Tensor& values, std::ptrdiff_t used) const {
  if (used < 0) return values;
  const KeyRule& rule = rules_[static_cast<std::size_t>(used)];
  return rule.change == nullptr ? values : rule.change(values);
}

std::optional<std::string> rename(const std::string& name, const std::vector<KeyRule>& rules) {
  return KeyRules(rules).rename(name);
}

TensorMap rename(const TensorMap& tensors, const std::vector<KeyRule>& rules) {
  return KeyRules(rules).rename(tensors);
}

std::vector<KeyRule> inverse(const std::vector<KeyRule>& rules) {
  std::vector<KeyRule> back;
  for (const KeyRule& rule : rules) {
    if (rule.join != 0) {
      throw UserError("weights cannot be brought to a layout that keeps \"" + rule.to +
                      "\" in parts");
    }
    if (!rule.drop) back.push_back({rule.to, rule.from, false, rule.undo, rule.change});
  }
  return back;
}

namespace {

// Beginnings that a good part of the names shares, shorter ones first.
std::vector<std::string> leading_prefixes(const TensorMap& tensors,
                                          const std::vector<std::string>& likely) {
  std::map<std::string, std::size_t> counts;
  for (const auto& [name, tensor] : tensors) {
    std::size_t end = name.find('.');
    for (int depth = 0; depth < 3 && end != std::string::npos; ++depth) {
      ++counts[name.substr(0, end + 1)];
      end = name.find('.', end + 1);
    }
  }
  std::vector<std::string> prefixes{""};
  for (const std::string& prefix : likely) {
    if (counts.erase(prefix) != 0) prefixes.push_back(prefix);
  }
  for (const auto& [prefix, count] : counts) {
    if (count * 4 >= tensors.size() && prefixes.size() < kMaxPrefixes) prefixes.push_back(prefix);
  }
  return prefixes;
}

/// One way of reading the file's names.
struct Reading {
  KeyMatch match;
  std::size_t unexpected = 0;
  bool better_than(const Reading& other) const {
    if (match.matched != other.match.matched) return match.matched > other.match.matched;
    return unexpected < other.unexpected;
  }
};

Reading read_names(const TensorMap& tensors, const std::unordered_set<std::string>& wanted,
                   const std::string& prefix, const KeyRules& rules, bool keep_outside) {
  Reading reading;
  KeyMatch& match = reading.match;
  match.prefix = prefix;
  std::unordered_set<std::string> seen;
  Renamed renamed;
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with(prefix)) {
      ++match.outside;
      reading.unexpected += keep_outside;
      if (keep_outside) renamed.add(name, tensor, 0);
      continue;
    }
    std::ptrdiff_t used = -1;
    const auto ours = rules.rename(name.substr(prefix.size()), &used);
    if (!ours) {
      ++match.dropped;
      continue;
    }
    if (!renamed.add(*ours, rules.changed(tensor, used), rules.place(used))) continue;
    const bool known = wanted.count(*ours) != 0 && seen.insert(*ours).second;
    (known ? match.matched : reading.unexpected) += 1;
  }
  match.tensors = renamed.take();
  return reading;
}

}  // namespace

KeyMatch match_keys(const TensorMap& tensors, const std::vector<std::string>& names,
                    const MatchOptions& options) {
  const std::unordered_set<std::string> wanted(names.begin(), names.end());
  const auto prefixes = options.prefix ? std::vector<std::string>{*options.prefix}
                                       : leading_prefixes(tensors, options.likely);
  std::optional<Reading> best;
  for (const KeyLayout& layout : options.layouts) {
    const KeyRules rules(layout.rules);
    for (const std::string& prefix : prefixes) {
      Reading reading = read_names(tensors, wanted, prefix, rules, options.keep_outside);
      reading.match.layout = layout.name;
      if (best && !reading.better_than(*best)) continue;
      best = std::move(reading);
    }
    // Nothing can be better than our own names, all of them.
    if (layout.rules.empty() && best->unexpected == 0 && best->match.matched == wanted.size())
      break;
  }
  return std::move(best->match);
}

}  // namespace strata::io
