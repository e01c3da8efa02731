#include "framework/base/error.hpp"

#include <algorithm>
#include <cctype>
#include <tuple>

namespace strata {

std::string Origin::str() const {
  if (line <= 0) return source;
  std::string text = source + ":" + std::to_string(line);
  if (column > 0) text += ":" + std::to_string(column);
  return text;
}

std::string Problem::str() const {
  std::string text = where.str();
  if (!path.empty()) text += (text.empty() ? "" : ": ") + path;
  return text + (text.empty() ? "" : ": ") + what;
}

namespace {

std::string join_lines(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.where.source, a.where.line, a.where.column) <
           std::tie(b.where.source, b.where.line, b.where.column);
  });
  std::string text;
  for (const Problem& problem : problems) text += (text.empty() ? "" : "\n") + problem.str();
  return text;
}

}  // namespace

UserError::~UserError() = default;
DataError::~DataError() = default;
PluginError::~PluginError() = default;
CheckpointError::~CheckpointError() = default;
OptionError::~OptionError() = default;
ConfigError::~ConfigError() = default;

// join_lines sorts before problems_ takes its copy: `problems` is one object here.
ConfigError::ConfigError(std::vector<Problem> problems)
    : UserError(join_lines(problems)), problems_(std::move(problems)) {}

OptionError::OptionError(std::string key, const std::string& what)
    : std::runtime_error(what), key_(std::move(key)) {}

namespace {

// Edit distance over lower-cased text with transpositions; `-` and `_` count as the same letter.
std::size_t edit_distance(const std::string& a, const std::string& b) {
  auto fold = [](char c) {
    return c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  };
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = fold(a[i - 1]) == fold(b[j - 1]);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1])) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

// Length of the common beginning; decides between candidates that are equally near.
std::size_t same_start(const std::string& a, const std::string& b) {
  std::size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

}  // namespace

std::string did_you_mean(const std::string& name, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 200;  // comparing costs the product of two lengths
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(1, std::min<std::size_t>(4, name.size() / 2));
  for (const std::string& candidate : candidates) {
    if (candidate == name || std::max(name.size(), candidate.size()) > kLongest) continue;
    const std::size_t distance = edit_distance(name, candidate);
    const bool is_tie = distance == best_distance &&
                        (best == nullptr || same_start(name, candidate) > same_start(name, *best));
    if (distance < best_distance || is_tie) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best == nullptr ? "" : "; did you mean \"" + *best + "\"?";
}

}  // namespace strata
