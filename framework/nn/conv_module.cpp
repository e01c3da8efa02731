#include "framework/nn/conv_module.hpp"

#include "framework/nn/init.hpp"

namespace strata::nn {

ConvModuleImpl::ConvModuleImpl(const ConvModuleOptions& options)
    : norm_(options.out_channels, options.norm), activation_(options.activation) {
  const auto padding = options.padding.value_or(options.dilation * (options.kernel - 1) / 2);
  conv_ = register_module(
      "conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(options.in_channels, options.out_channels,
                                                         options.kernel)
                                    .stride(options.stride)
                                    .padding(padding)
                                    .dilation(options.dilation)
                                    .groups(options.groups)
                                    .bias(options.bias.value_or(!norm_))));
  if (norm_) register_module(norm_.short_name(), norm_.module());
  kaiming_normal_(conv_->weight);
  if (conv_->bias.defined()) constant_(conv_->bias, 0);
}

at::Tensor ConvModuleImpl::forward(const at::Tensor& x) {
  return conv_norm_act(conv_, norm_, activation_, x);
}

at::Tensor conv_norm_act(const torch::nn::Conv2d& conv, const Norm& norm,
                         const Activation& activation, const at::Tensor& x) {
  at::Tensor y = conv.ptr()->forward(x);
  if (norm) y = norm(y);
  // The layers before keep their inputs and statistics for backward, never their outputs.
  return activate_(std::move(y), activation);
}

}  // namespace strata::nn
