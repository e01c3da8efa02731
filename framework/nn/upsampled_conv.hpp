// A convolution over a map that is enlarged twice, joined with a skip: the step of U-Net decoders.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/export.hpp"

namespace strata::nn {

/// conv2d(cat(coarse repeated to the size of `skip`, skip), weight, bias) with a 3x3 kernel and
/// padding 1. Where that is exactly twice the size, neither the enlarged map nor the joined one is
/// made: each value of `coarse` meets sums of the kernel's taps, so a strided transposed convolution
/// with 4x4 such sums gives the same in 4/9 of the multiply-adds.
///
/// coarse: [N, C, h, w]; skip: [N, S, H, W], or undefined: then S = 0 and (H, W) is (2h, 2w);
/// weight: [C', C + S, 3, 3]; bias: [C'] or undefined. Gives [N, C', H, W].
STRATA_API at::Tensor upsampled_conv(const at::Tensor& coarse, const at::Tensor& skip,
                                     const at::Tensor& weight, const at::Tensor& bias);

}  // namespace strata::nn
