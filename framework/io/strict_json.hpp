// JSON that a stranger wrote. For .cpp files only: the library behind it is large.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "framework/base/error.hpp"

namespace strata::io {

/// An object in whose two upper levels no key stands twice: readers would differ in which of them
/// counts. What nests deeper than weights do is left out. Throws CheckpointError "location is not a
/// JSON object", "location names "key" twice".
inline nlohmann::json parse_strict_json(std::string_view text, const std::string& location) {
  std::array<std::set<std::string>, 2> seen;  // keys of the objects that are open
  std::string twice;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    const auto level = static_cast<std::size_t>(depth);
    if (event == Event::object_start && level < seen.size()) seen[level].clear();
    if (event == Event::key && level >= 1 && level <= seen.size() &&
        !seen[level - 1].insert(value.get<std::string>()).second) {
      twice = value.get<std::string>();
    }
    return depth <= 3;
  };
  nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), watch,
                                              /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    throw CheckpointError(location + " is not a JSON object");
  }
  if (!twice.empty()) throw CheckpointError(location + " names \"" + twice + "\" twice");
  return json;
}

}  // namespace strata::io
