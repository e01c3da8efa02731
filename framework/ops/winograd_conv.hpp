// 3x3 convolutions in 4/9 of the multiplications.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/export.hpp"

namespace strata::ops {

/// Whether winograd_conv serves, and is faster than LibTorch's convolution, for this map and weight
/// with stride 1, padding 1, no dilation and one group: channels-last in float32 on a CPU, with
/// channels and pixels enough to pay for the transforms.
STRATA_API bool winograd_pays(const at::Tensor& x, const at::Tensor& weight);

/// conv2d(x, weight, bias, stride 1, padding 1) by Winograd's minimal filtering of 2 x 2 results
/// (Lavin and Gray, CVPR 2016): tiles of 4 x 4 values and kernels are transformed, which makes
/// products of the convolution, so that four results take 16 multiplications instead of 36. Exact
/// but for rounding, in which it equals direct sums.
///
/// x: [N, C, H, W] on a CPU, float32 or float64; weight: [C', C, 3, 3]; bias: [C'] or undefined.
/// Gives [N, C', H, W], channels-last. Differentiable once.
STRATA_API at::Tensor winograd_conv(const at::Tensor& x, const at::Tensor& weight,
                                    const at::Tensor& bias);

/// For weights that stay: the transformed weight, [16, C', C], and the convolution with it, without
/// gradients, followed by a ReLU on request.
STRATA_API at::Tensor winograd_weight(const at::Tensor& weight);
STRATA_API at::Tensor winograd_conv_transformed(const at::Tensor& x, const at::Tensor& transformed,
                                                const at::Tensor& bias, bool relu);

}  // namespace strata::ops
