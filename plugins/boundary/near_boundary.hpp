// Which pixels lie near a class boundary: shared by the loss and the hook.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace boundary {

/// target: [N, H, W] int64 label map -> [N, H, W] bool, true for each pixel that has a pixel of
/// another class at most `radius` rows and columns away. Pixels with `ignore_index` are neither
/// near a boundary nor do they make one. radius >= 1.
at::Tensor near_boundary(const at::Tensor& target, std::int64_t ignore_index, std::int64_t radius);

}  // namespace boundary
