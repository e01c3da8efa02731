// What this build is made of.
#pragma once

#include <string_view>

#include "framework/base/export.hpp"

namespace strata {

/// Version of the framework, "major.minor.patch".
STRATA_API std::string_view version();

/// Version of the LibTorch that the framework was compiled against, "2.11.0".
STRATA_API std::string_view libtorch_version();

/// "release", "debug" or "asan".
STRATA_API std::string_view build_type();

/// CUDA toolkit of this build, "13.0", or "cpu" when there was none.
STRATA_API std::string_view cuda_version();

}  // namespace strata
