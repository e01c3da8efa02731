// Initial values of parameters, drawn from torch's default generator: one seed, one model.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/export.hpp"

namespace strata::nn {

enum class Fan { in, out };

/// Normal with variance 2 / fan (He et al., 2015): for layers followed by a ReLU. Fan-out is what
/// ResNet, HRNet and mmcv's blocks use. Weights are [out, in / groups, kh, kw] or [out, in].
STRATA_API void kaiming_normal_(const at::Tensor& weight, Fan fan = Fan::out);
/// Uniform with variance 2 / fan_in: what segmentation_models_pytorch's decoders use.
STRATA_API void kaiming_uniform_(const at::Tensor& weight);
/// Uniform with variance 1 / (3 fan_in): PyTorch's own default for convolutions and linear layers
/// (Kaiming's with a = sqrt(5)).
STRATA_API void default_uniform_(const at::Tensor& weight);
/// Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).
STRATA_API void xavier_uniform_(const at::Tensor& weight, double gain = 1.0);
STRATA_API void normal_(const at::Tensor& tensor, double mean, double std);
/// Normal around 0, redrawn outside ± 2 (absolute, as timm and PyTorch cut it).
STRATA_API void truncated_normal_(const at::Tensor& tensor, double std);
STRATA_API void constant_(const at::Tensor& tensor, double value);

}  // namespace strata::nn
