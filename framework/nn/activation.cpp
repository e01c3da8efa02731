#include "framework/nn/activation.hpp"

#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/tanh.h>

namespace strata::nn {

at::Tensor activate_(at::Tensor x, const Activation& activation) {
  switch (activation.kind) {
    case Activation::Kind::none:
      return x;
    // These three recompute their gradient from the output alone.
    case Activation::Kind::relu:
      return x.relu_();
    case Activation::Kind::sigmoid:
      return x.sigmoid_();
    case Activation::Kind::tanh:
      return x.tanh_();
    case Activation::Kind::leaky_relu:
      // In place is legal only while the sign of the output tells the sign of the input.
      return activation.slope > 0 ? at::leaky_relu_(x, activation.slope)
                                  : at::leaky_relu(x, activation.slope);
    // The gradients of these need the input, so in place would cost a copy.
    case Activation::Kind::gelu:
      return at::gelu(x);
    case Activation::Kind::silu:
      return at::silu(x);
  }
  return x;
}

}  // namespace strata::nn
