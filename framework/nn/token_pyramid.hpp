// Four levels from maps of one size: how a plain vision transformer serves dense prediction.
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/normalization.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::nn {

/// A transposed convolution of kernel 2 and stride 2 as a matrix product, which on CPUs trains
/// about twice as fast: [N, C, H, W] -> [N, C', 2H, 2W], channels-last.
STRATA_API at::Tensor double_size(const at::Tensor& x, const torch::nn::ConvTranspose2d& conv);

/// The pyramid of BEiT and of CLIP's descendants: maps at stride `patch` (8, 14, 16 or 32), the
/// k-th enlarged or shrunk to stride 4, 8, 16, 32. Each begins with GroupNorm(1); enlarging is by
/// transposed convolutions of kernel 2 with BatchNorm and GELU between, shrinking by max pooling.
/// It registers `fpn1` … `fpn4` in its owner, with the names that those models have: a Sequential's
/// ("fpn1.0", "fpn1.1", "fpn1.2", "fpn1.4"), or a lone GroupNorm's ("fpn3.weight").
class STRATA_API TokenPyramid {
 public:
  static constexpr std::array<std::int64_t, 4> kStrides = {4, 8, 16, 32};
  static bool supports(std::int64_t patch);

  TokenPyramid() = default;
  TokenPyramid(torch::nn::Module& owner, std::int64_t channels, std::int64_t patch);

  /// maps: four of [N, channels, h, w] for images of `height` x `width`, which may have been padded
  /// at the right and below to whole patches -> level k of ceil(height / stride) rows, and columns
  /// likewise: what stands for padding is cut off. Patches of 14 give strides 3.5 to 28, which are
  /// resized (bilinear).
  std::vector<at::Tensor> forward(const std::vector<at::Tensor>& maps, std::int64_t height,
                                  std::int64_t width) const;

 private:
  struct Level {
    torch::nn::GroupNorm norm{nullptr};
    std::vector<torch::nn::ConvTranspose2d> convs;
    std::vector<torch::nn::BatchNorm2d> norms;  // between convs
    std::int64_t pool = 1;
  };
  std::int64_t patch_ = 16;
  std::vector<Level> levels_;
};

}  // namespace strata::nn
