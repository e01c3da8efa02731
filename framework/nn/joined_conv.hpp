// A convolution over levels of a pyramid, joined at the size of the finest.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::nn {

/// conv2d(cat(maps, each resized to the first), weight, bias), stride 1 and padding that keeps the
/// size, without enlarging any map first: resizing and convolution are both linear, so a coarse map
/// is multiplied by the kernel at its own size, and the products are enlarged and shifted in one
/// matrix product a direction. Of four levels of 512 channels that leaves a third of the work.
///
/// maps: [N, C_i, H_i, W_i]; weight: [C', sum of C_i, k, k], k odd; bias: [C'] or undefined. Gives
/// [N, C', H_0, W_0], channels-last. Maps are resized bilinearly; `align_corners` as there.
STRATA_API at::Tensor joined_conv(const std::vector<at::Tensor>& maps, const at::Tensor& weight,
                                  const at::Tensor& bias, std::int64_t dilation,
                                  bool align_corners);

}  // namespace strata::nn
