// Pyramid pooling (Zhao et al., CVPR 2017), part of the PSP and UPer heads.
#pragma once

#include <torch/nn/modules/container/modulelist.h>

#include <cstdint>
#include <vector>

#include "framework/nn/conv_module.hpp"

namespace strata::heads {

struct PyramidPoolingOptions {
  std::int64_t in_channels = 0;
  std::int64_t channels = 0;
  std::vector<std::int64_t> scales;
  nn::NormOptions norm;
};

/// Averages a map over grids of `scales` x `scales` cells and runs a 1x1 block over each. Key names
/// are mmseg's: `<name>.<scale index>.1.conv.weight`.
class PyramidPooling {
 public:
  explicit PyramidPooling(const PyramidPoolingOptions& options);

  /// The list to register, as `psp_modules`.
  const torch::nn::ModuleList& modules() const { return modules_; }
  /// Channels of all these maps together.
  std::int64_t out_channels() const;
  /// [N, in_channels, H, W] -> the map itself and [N, channels, scale, scale] of each scale, for a
  /// convolution that joins them at the map's size.
  std::vector<at::Tensor> operator()(const at::Tensor& x) const;

 private:
  PyramidPoolingOptions options_;
  torch::nn::ModuleList modules_;
  std::vector<nn::ConvModule> blocks_;
};

}  // namespace strata::heads
