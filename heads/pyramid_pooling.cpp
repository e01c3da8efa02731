#include "heads/pyramid_pooling.hpp"

#include <ATen/ops/adaptive_avg_pool2d.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/pooling.h>

namespace strata::heads {

PyramidPooling::PyramidPooling(const PyramidPoolingOptions& options) : options_(options) {
  for (std::int64_t scale : options.scales) {
    nn::ConvModule block({.in_channels = options.in_channels,
                          .out_channels = options.channels,
                          .norm = options.norm});
    // The pooling layer holds index 0, so that the block's key names are mmseg's.
    modules_->push_back(torch::nn::Sequential(torch::nn::AdaptiveAvgPool2d(scale), block));
    blocks_.push_back(block);
  }
}

std::int64_t PyramidPooling::out_channels() const {
  return options_.in_channels +
         static_cast<std::int64_t>(options_.scales.size()) * options_.channels;
}

std::vector<at::Tensor> PyramidPooling::operator()(const at::Tensor& x) const {
  std::vector<at::Tensor> maps = {x};
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::int64_t scale = options_.scales[i];
    if (modules_->is_training() && options_.norm.type == "BN" && x.size(0) * scale * scale == 1) {
      throw UserError(
          "pyramid pooling to one cell leaves batch norm a single value to train on "
          "with a batch of one image; use a larger batch, norm = \"GN\", or "
          "pool_scales without 1");
    }
    maps.push_back(blocks_[i].ptr()->forward(at::adaptive_avg_pool2d(x, {scale, scale})));
  }
  return maps;
}

}  // namespace strata::heads
