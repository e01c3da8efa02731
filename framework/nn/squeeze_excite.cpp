#include "framework/nn/squeeze_excite.hpp"

#include <ATen/ops/hardsigmoid.h>

namespace strata::nn {

at::Tensor squeeze_excite(const at::Tensor& x, const torch::nn::Conv2d& reduce,
                          const torch::nn::Conv2d& expand, const Activation& activation,
                          Gate gate) {
  at::Tensor weight = x.mean({2, 3}, /*keepdim=*/true);
  weight = expand.ptr()->forward(activate_(reduce.ptr()->forward(weight), activation));
  return x * (gate == Gate::sigmoid ? weight.sigmoid_() : at::hardsigmoid(weight));
}

}  // namespace strata::nn
