// Convolution, normalisation, activation: the block that heads, necks and backbones are made of.
#pragma once

#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "framework/nn/activation.hpp"
#include "framework/nn/fold_cache.hpp"
#include "framework/nn/norm.hpp"

namespace strata::nn {

struct ConvModuleOptions {
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::optional<std::int64_t>
      padding{};  // left out: dilation * (kernel - 1) / 2, which keeps the size
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  std::optional<bool> bias{};  // left out: only when there is no normalisation
  NormOptions norm{};
  Activation activation = Activation::relu();
};

/// mmcv's ConvModule: children `conv` and `bn` (or `gn`; none without normalisation). Convolution
/// weights are drawn from Kaiming's normal distribution over fan-out, biases are zero.
///   ConvModule({.in_channels = 64, .out_channels = 128, .kernel = 3, .norm = options.norm})
class STRATA_API ConvModuleImpl final : public torch::nn::Module {
 public:
  explicit ConvModuleImpl(const ConvModuleOptions& options);
  /// [N, in_channels, H, W] -> [N, out_channels, H', W']
  at::Tensor forward(const at::Tensor& x);
  /// The same over maps joined along their channels, each resized to the first (joined_conv), for a
  /// module of stride 1 and one group that keeps the size.
  at::Tensor forward_joined(const std::vector<at::Tensor>& maps, bool align_corners);

 private:
  torch::nn::Conv2d conv_{nullptr};
  Norm norm_;
  Activation activation_;
};

/// Shared pointer to a ConvModuleImpl, as LibTorch's modules have it.
class ConvModule : public torch::nn::ModuleHolder<ConvModuleImpl> {
 public:
  using torch::nn::ModuleHolder<ConvModuleImpl>::ModuleHolder;
  explicit ConvModule(const ConvModuleOptions& options)
      : ModuleHolder(std::make_shared<ConvModuleImpl>(options)) {}
};

/// conv(x), in the fastest way that is known for it.
STRATA_API at::Tensor convolved(const torch::nn::Conv2d& conv, const at::Tensor& x);

/// activation(norm(conv(x)) + residual) over layers that a component holds under its own names;
/// `residual`, of the result's shape, may be undefined. Training on a CPU joins batch norm, sum and
/// ReLU in one pass; evaluation without gradients folds the batch norm into the convolution.
STRATA_API at::Tensor conv_norm_act(const torch::nn::Conv2d& conv, const Norm& norm,
                                    const Activation& activation, const at::Tensor& x,
                                    const at::Tensor& residual = {});

/// activation(norm(convolve(weight, bias))) for a convolution of stride 1 that is not computed by
/// the layer itself: it is given the layer's weight and bias, or those with the batch norm folded
/// in. `like` is one of its inputs, of about the result's height and width.
using Convolve = std::function<at::Tensor(const at::Tensor& weight, const at::Tensor& bias)>;
STRATA_API at::Tensor conv_norm_act(const torch::nn::Conv2d& conv, const Norm& norm,
                                    const Activation& activation, const at::Tensor& like,
                                    const Convolve& convolve);

/// The two halves of it, for layers that are no Conv2d. Weight and bias (or none) [C', …] of a
/// convolution of stride 1 with the batch norm behind it folded in; nullopt where that may not be
/// (a gradient or new statistics are asked for) or does not pay. `x`: its input, about as large as
/// its result.
STRATA_API std::optional<FoldCache::Folded> fold_norm(const at::Tensor& weight,
                                                      const at::Tensor& bias, const Norm& norm,
                                                      const at::Tensor& x);
/// activation(norm(y) + residual), for a y that nobody else holds.
STRATA_API at::Tensor norm_act(at::Tensor y, const Norm& norm, const Activation& activation,
                               const at::Tensor& residual = {});

}  // namespace strata::nn
