// A look into a shared library without running any of its code.
#pragma once

#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata {

/// Names that the 64-bit ELF shared library at `path` exports. Throws std::runtime_error with the
/// reason when the file is no such library or is cut short (which the system's loader would
/// answer with a bus error).
STRATA_API std::vector<std::string> exported_symbols(const std::string& path);

}  // namespace strata
