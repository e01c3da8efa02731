#include "framework/nn/residual.hpp"

#include <ATen/ops/avg_pool2d.h>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"

namespace strata::nn {

ResidualBlock::ResidualBlock(const ResidualOptions& options, std::int64_t expansion) {
  const std::int64_t out = options.planes * expansion;
  if (options.stride == 1 && options.in_channels == out) return;
  const bool pools = options.avg_down || options.anti_alias;
  if (pools) pool_ = options.stride;
  downsample_ = std::make_shared<ConvNorm>(
      conv2d(options.in_channels, out, 1, {.stride = pools ? 1 : options.stride}), options.norm,
      Activation::none(), options.avg_down ? 1 : 0);
}

at::Tensor ResidualBlock::shortcut(const at::Tensor& x) const {
  return downsample_ ? downsample_->forward(pooled(x)) : x;
}

at::Tensor ResidualBlock::pooled(const at::Tensor& x) const {
  if (pool_ == 1) return x;
  return at::avg_pool2d(x, pool_, pool_, 0, /*ceil_mode=*/true, /*count_include_pad=*/false);
}

void ResidualBlock::add_layer(int number, torch::nn::Conv2d& conv, Norm& norm,
                              const ResidualOptions& options) {
  const std::string suffix = std::to_string(number);
  register_module("conv" + suffix, conv);
  kaiming_normal_(conv->weight);
  norm = Norm(conv->options.out_channels(), options.norm);
  if (norm) register_module(norm.short_name() + suffix, norm.module());
}

BasicBlock::BasicBlock(const ResidualOptions& options) : ResidualBlock(options, expansion) {
  conv1_ =
      conv2d(options.in_channels, options.planes, 3,
             {.stride = options.stride, .padding = options.dilation, .dilation = options.dilation});
  conv2_ = conv2d(options.planes, options.planes, 3, {.padding = 1});
  add_layer(1, conv1_, norm1_, options);
  add_layer(2, conv2_, norm2_, options);
  add_shortcut();
  if (options.zero_init && norm2_) constant_(norm2_.weight(), 0);
}

at::Tensor BasicBlock::forward(const at::Tensor& x) const {
  at::Tensor y = conv_norm_act(conv1_, norm1_, Activation::relu(), x);
  return conv_norm_act(conv2_, norm2_, Activation::relu(), y, shortcut(x));
}

Bottleneck::Bottleneck(const ResidualOptions& options)
    : ResidualBlock(options, expansion), anti_alias_(options.anti_alias) {
  const std::int64_t width = options.width > 0 ? options.width : options.planes;
  conv1_ =
      conv2d(options.in_channels, width, 1, {.stride = options.stride_first ? options.stride : 1});
  conv2_ = conv2d(width, width, 3,
                  {.stride = options.stride_first || anti_alias_ ? 1 : options.stride,
                   .padding = options.dilation,
                   .dilation = options.dilation,
                   .groups = options.groups});
  conv3_ = conv2d(width, options.planes * expansion, 1);
  add_layer(1, conv1_, norm1_, options);
  add_layer(2, conv2_, norm2_, options);
  add_layer(3, conv3_, norm3_, options);
  add_shortcut();
  if (options.zero_init && norm3_) constant_(norm3_.weight(), 0);
}

at::Tensor Bottleneck::forward(const at::Tensor& x) const {
  at::Tensor y = conv_norm_act(conv1_, norm1_, Activation::relu(), x);
  y = conv_norm_act(conv2_, norm2_, Activation::relu(), y);
  if (anti_alias_) y = pooled(y);
  return conv_norm_act(conv3_, norm3_, Activation::relu(), y, shortcut(x));
}

}  // namespace strata::nn
