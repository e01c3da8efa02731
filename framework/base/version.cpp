#include "framework/base/version.hpp"

namespace strata {

std::string_view version() { return STRATA_VERSION; }

std::string_view libtorch_version() { return STRATA_LIBTORCH_VERSION; }

std::string_view build_type() { return STRATA_BUILD_TYPE; }

std::string_view cuda_version() { return STRATA_CUDA_VERSION; }

}  // namespace strata
