// The components that ship with the framework, as one call.
#pragma once

#include "framework/base/export.hpp"

namespace strata {

class Registry;

/// Adds every component of this build to `registry`. Written by CMake from the source lists
/// (strata_add_components), lives in libstrata.
STRATA_API void register_builtin_components(Registry& registry);

}  // namespace strata
