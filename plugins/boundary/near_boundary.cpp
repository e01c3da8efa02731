#include "near_boundary.hpp"

#include <ATen/ops/max_pool2d.h>

#include <limits>

namespace boundary {
namespace {

/// Largest value in a square window, as two passes of strips. [N, 1, H, W] float.
at::Tensor window_max(const at::Tensor& x, std::int64_t radius) {
  const std::int64_t size = 2 * radius + 1;
  const at::Tensor rows = at::max_pool2d(x, {size, 1}, {1, 1}, {radius, 0});
  return at::max_pool2d(rows, {1, size}, {1, 1}, {0, radius});
}

}  // namespace

at::Tensor near_boundary(const at::Tensor& target, std::int64_t ignore_index, std::int64_t radius) {
  // Labels are below 256, so float32 holds them exactly. Ignored pixels lose every comparison.
  const at::Tensor ignored = target.eq(ignore_index).unsqueeze(1);
  const at::Tensor classes = target.unsqueeze(1).to(at::kFloat);
  constexpr double kLowest = -std::numeric_limits<float>::infinity();
  const at::Tensor highest = window_max(classes.masked_fill(ignored, kLowest), radius);
  const at::Tensor lowest = -window_max((-classes).masked_fill(ignored, kLowest), radius);
  return highest.ne(lowest).logical_and(ignored.logical_not()).squeeze(1);
}

}  // namespace boundary
