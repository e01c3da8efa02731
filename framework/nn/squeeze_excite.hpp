// Channels weighted by what the whole map says (Hu et al., CVPR 2018).
#pragma once

#include <torch/nn/modules/conv.h>

#include "framework/nn/activation.hpp"

namespace strata::nn {

enum class Gate { sigmoid, hard_sigmoid };

/// x * gate(expand(activation(reduce(mean of x)))), with 1x1 convolutions that the component holds
/// under its own names. x: [N, C, H, W].
STRATA_API at::Tensor squeeze_excite(const at::Tensor& x, const torch::nn::Conv2d& reduce,
                                     const torch::nn::Conv2d& expand, const Activation& activation,
                                     Gate gate = Gate::sigmoid);

}  // namespace strata::nn
