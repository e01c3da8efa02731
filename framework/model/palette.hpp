// What a palette in a config must be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata {

using Palette = std::vector<std::vector<std::int64_t>>;  // [red, green, blue] of each value

/// Throws OptionError(key, …) unless every colour is three numbers from 0 to 255.
STRATA_API void check_palette(const std::string& key, const Palette& palette);

}  // namespace strata
