// Counts multiply-adds by watching the operators of a forward pass.
#pragma once

#include <cstdint>
#include <functional>

namespace strata::tools {

/// Multiply-adds of the convolutions and matrix products that `body` runs on this thread.
std::int64_t count_multiply_adds(const std::function<void()>& body);

}  // namespace strata::tools
