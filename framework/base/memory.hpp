// How the process takes memory from the system and keeps it.
#pragma once

#include "framework/base/export.hpp"

namespace strata {

/// Keeps freed memory for the next step instead of giving it back: a training step frees and takes
/// the same large blocks each time, and having the system hand out zeroed pages again costs more
/// than many an operator. All threads share it. For programs that train or predict in a loop; call it first in main.
STRATA_API void keep_freed_memory();

}  // namespace strata
