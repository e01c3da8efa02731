#include "framework/nn/layers.hpp"

#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/upsampled_conv.hpp"

namespace strata::nn {

ConvNorm::ConvNorm(torch::nn::Conv2d conv, const NormOptions& norm, const Activation& activation,
                   int first)
    : conv_(std::move(conv)), norm_(conv_->options.out_channels(), norm), activation_(activation) {
  register_module(std::to_string(first), conv_);
  if (norm_) register_module(std::to_string(first + 1), norm_.module());
  kaiming_normal_(conv_->weight);
}

at::Tensor ConvNorm::forward(const at::Tensor& x) const {
  return conv_norm_act(conv_, norm_, activation_, x);
}

at::Tensor ConvNorm::forward_upsampled(const at::Tensor& coarse, const at::Tensor& skip) const {
  return conv_norm_act(conv_, norm_, activation_, skip.defined() ? skip : coarse,
                       [&](const at::Tensor& weight, const at::Tensor& bias) {
                         return upsampled_conv(coarse, skip, weight, bias);
                       });
}

at::Tensor ConvNorm::forward_add(const at::Tensor& x, const at::Tensor& residual, bool relu) const {
  return conv_norm_act(conv_, norm_, relu ? Activation::relu() : Activation::none(), x, residual);
}

void set_unused(torch::nn::Module& module) {
  for (at::Tensor& parameter : module.parameters()) parameter.set_requires_grad(false);
}

void fix_batch_norm_statistics(torch::nn::Module& module) {
  module.apply([](torch::nn::Module& child) {
    if (auto* norm = child.as<torch::nn::BatchNorm2dImpl>()) norm->eval();
  });
}

}  // namespace strata::nn
