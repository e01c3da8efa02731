#include "framework/nn/activation.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/tanh.h>
#include <torch/csrc/autograd/custom_function.h>

namespace strata::nn {
namespace {

bool needs_input(const at::Tensor& x) { return at::GradMode::is_enabled() && x.requires_grad(); }

constexpr double kQuickGeluSlope = 1.702;

/// Keeps x alone, and one pass of SiLU's backward does: with a the slope, the derivative of
/// x sigmoid(a x) is that of SiLU at a x.
struct QuickGelu : torch::autograd::Function<QuickGelu> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->save_for_backward({x});
    return (x * kQuickGeluSlope).sigmoid_().mul_(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& outputs) {
    return {at::silu_backward(outputs[0], context->get_saved_variables()[0] * kQuickGeluSlope)};
  }
};

}  // namespace

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
    // The gradients of these need the input.
    case Activation::Kind::gelu:
      return needs_input(x) ? at::gelu(x) : at::gelu_(x);
    case Activation::Kind::quick_gelu:
      return needs_input(x) ? QuickGelu::apply(x) : x.mul_((x * kQuickGeluSlope).sigmoid_());
    case Activation::Kind::silu:
      return needs_input(x) ? at::silu(x) : at::silu_(x);
  }
  return x;
}

}  // namespace strata::nn
