// Training-mode batch norm joined with what follows it: a sum and a ReLU. On CPUs these are bound
// by memory, and joined they move a little more than half the bytes of the separate operations.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/export.hpp"

namespace strata::ops {

struct BatchNormState {
  at::Tensor weight, bias;               // [C]
  at::Tensor running_mean, running_var;  // [C], updated in place
  double momentum = 0.1, eps = 1e-5;
};

/// Whether batch_norm_act takes x [N, C, H, W]: channels-last float32 or float64 on a CPU, more
/// than one value a channel, and a state that is complete and of the same type.
STRATA_API bool can_batch_norm_act(const at::Tensor& x, const BatchNormState& state);

/// relu(batch_norm(x) + residual) with the statistics of this batch; `residual` may be undefined,
/// and `relu` false. Differentiable once. The result has x's layout.
STRATA_API at::Tensor batch_norm_act(const at::Tensor& x, const BatchNormState& state, bool relu,
                                     const at::Tensor& residual = {});

}  // namespace strata::ops
