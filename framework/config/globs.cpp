#include "framework/config/globs.hpp"

#include <algorithm>
#include <set>

#include "framework/base/error.hpp"

namespace strata::config {

namespace {

using Segments = std::vector<std::string_view>;

Segments segments_of(std::string_view text) {
  Segments out;
  for (std::size_t begin = 0;;) {
    const std::size_t dot = text.find('.', begin);
    out.push_back(text.substr(begin, dot - begin));
    if (dot == std::string_view::npos) return out;
    begin = dot + 1;
  }
}

// `*` any number of characters; greedy, remembering the last star only, so linear in practice.
bool segment_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// The same algorithm one level up, `**` being the star of segments.
bool segments_match(const Segments& pattern, const Segments& text) {
  std::size_t p = 0, t = 0, star = pattern.size(), mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == "**") {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && segment_match(pattern[p], text[t])) {
      ++p;
      ++t;
    } else if (star != pattern.size()) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == "**") ++p;
  return p == pattern.size();
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view name) {
  if (pattern.find('*') == std::string_view::npos) {
    return name.starts_with(pattern) &&
           (name.size() == pattern.size() || name[pattern.size()] == '.');
  }
  return segments_match(segments_of(pattern), segments_of(name));
}

bool glob_match_any(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return glob_match(pattern, name); });
}

std::string glob_hint(std::string_view pattern, const std::vector<std::string>& names) {
  const Segments parts = segments_of(pattern);
  // The longest beginning that leads somewhere, then what could have come next there.
  for (std::size_t kept = parts.size(); kept-- > 0;) {
    Segments head(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(kept));
    if (std::find(head.begin(), head.end(), "**") != head.end()) continue;
    std::set<std::string> next;
    for (const std::string& name : names) {
      Segments whole = segments_of(name);
      if (whole.size() <= kept) continue;
      const Segments begin(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(kept));
      if (segments_match(head, begin)) next.emplace(whole[kept]);
    }
    if (next.empty()) continue;
    const std::string hint = did_you_mean(std::string(parts[kept]), {next.begin(), next.end()});
    if (hint.empty()) return "";
    const auto begin = hint.find('"') + 1;
    std::string better;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      better += (i > 0 ? "." : "") +
                (i == kept ? hint.substr(begin, hint.rfind('"') - begin) : std::string(parts[i]));
    }
    return "; did you mean \"" + better + "\"?";
  }
  return "";
}

}  // namespace strata::config
