// Resizing feature maps and logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/base/export.hpp"

namespace strata::nn {

enum class ResizeMode { nearest, bilinear, bicubic };

/// [N, C, H, W] -> [N, C, height, width]; keeps the memory format. When the size is already right,
/// x itself comes back, not a copy: do not write into the result in place.
/// `align_corners` counts for bilinear and bicubic only.
STRATA_API at::Tensor resize(const at::Tensor& x, std::int64_t height, std::int64_t width,
                             ResizeMode mode = ResizeMode::bilinear, bool align_corners = false);

/// Resizes to the height and width of `like`.
STRATA_API at::Tensor resize_as(const at::Tensor& x, const at::Tensor& like,
                                ResizeMode mode = ResizeMode::bilinear, bool align_corners = false);

}  // namespace strata::nn
