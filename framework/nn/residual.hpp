// The residual blocks of ResNet (He et al., CVPR 2016) and ResNeXt, which HRNet is built from too.
#pragma once

#include <cstdint>
#include <memory>

#include "framework/nn/layers.hpp"

namespace strata::nn {

struct ResidualOptions {
  std::int64_t in_channels = 0;
  std::int64_t planes = 0;  // width; a bottleneck gives four times as many channels
  std::int64_t stride = 1;
  std::int64_t dilation = 1;  // of the first 3x3 convolution
  std::int64_t groups = 1;    // of a bottleneck's 3x3 convolution
  std::int64_t width = 0;     // inner width of a bottleneck, 0: planes
  bool stride_first = false;  // bottleneck: stride in the first 1x1 ("caffe"), not in the 3x3
  bool avg_down = false;      // shortcut: average pooling, then a 1x1 of stride 1 (ResNet-D)
  bool anti_alias = false;    // bottleneck: as avg_down, and pooling behind the 3x3, of stride 1 (CLIP)
  bool zero_init = false;     // last norm starts at 0, so that the block starts as the identity
  NormOptions norm{};
};

/// x -> relu(branch(x) + shortcut(x)), the shortcut being a child `downsample` where the shape
/// changes. [N, in_channels, H, W] -> [N, expansion * planes, ceil(H / stride), ceil(W / stride)]
class STRATA_API ResidualBlock : public torch::nn::Module {
 public:
  virtual at::Tensor forward(const at::Tensor& x) const = 0;

 protected:
  ResidualBlock(const ResidualOptions& options, std::int64_t expansion);
  /// x itself, or `downsample` of it.
  at::Tensor shortcut(const at::Tensor& x) const;
  /// Registers the shortcut: after the layers, as the usual order of parameters has it.
  void add_shortcut() {
    if (downsample_) register_module("downsample", downsample_);
  }
  void add_layer(int number, torch::nn::Conv2d& conv, Norm& norm, const ResidualOptions& options);
  /// Means over squares of the block's stride, where it pools at all.
  at::Tensor pooled(const at::Tensor& x) const;

 private:
  std::shared_ptr<ConvNorm> downsample_;
  std::int64_t pool_ = 1;
};

/// 3x3, 3x3. Children conv1, bn1, conv2, bn2, downsample.{0,1}.
class STRATA_API BasicBlock final : public ResidualBlock {
 public:
  static constexpr std::int64_t expansion = 1;
  explicit BasicBlock(const ResidualOptions& options);
  at::Tensor forward(const at::Tensor& x) const override;

 private:
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
  Norm norm1_, norm2_;
};

/// 1x1, 3x3, 1x1. Children conv1, bn1, conv2, bn2, conv3, bn3, downsample.{0,1} (with avg_down
/// {1,2}).
class STRATA_API Bottleneck final : public ResidualBlock {
 public:
  static constexpr std::int64_t expansion = 4;
  explicit Bottleneck(const ResidualOptions& options);
  at::Tensor forward(const at::Tensor& x) const override;

 private:
  torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr}, conv3_{nullptr};
  Norm norm1_, norm2_, norm3_;
  bool anti_alias_;
};

}  // namespace strata::nn
