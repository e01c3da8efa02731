// Patterns on dotted names (parameters, modules, config keys): `*` stays inside a segment, `**`
// as a segment spans any number of segments, also none, and a name without `*` stands for itself
// and everything below it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::config {

STRATA_API bool glob_match(std::string_view pattern, std::string_view name);

/// Whether any of `patterns` matches.
STRATA_API bool glob_match_any(const std::vector<std::string>& patterns, std::string_view name);

/// For a pattern that matches none of `names`: `; did you mean "backbone.layer4"?`, or "".
STRATA_API std::string glob_hint(std::string_view pattern, const std::vector<std::string>& names);

}  // namespace strata::config
