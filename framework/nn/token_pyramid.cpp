#include "framework/nn/token_pyramid.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/max_pool2d.h>

#include <string>

#include "framework/nn/activation.hpp"
#include "framework/nn/norm.hpp"
#include "framework/nn/resize.hpp"
#include "framework/nn/tokens.hpp"
#include "framework/ops/batch_norm_act.hpp"

namespace strata::nn {
namespace {

/// A child named by its place, as in a Python Sequential.
template <class Layer>
Layer numbered(torch::nn::Module& sequential, int place, Layer layer) {
  return sequential.register_module(std::to_string(place), std::move(layer));
}

at::Tensor train_batch_norm(const at::Tensor& x, torch::nn::BatchNorm2dImpl& layer) {
  const ops::BatchNormState state{layer.weight,
                                  layer.bias,
                                  layer.running_mean,
                                  layer.running_var,
                                  layer.options.momentum().value_or(0),
                                  layer.options.eps()};
  if (!layer.is_training() || !ops::can_batch_norm_act(x, state)) return layer.forward(x);
  layer.num_batches_tracked.add_(1);
  return ops::batch_norm_act(x, state, /*relu=*/false);
}

}  // namespace

at::Tensor double_size(const at::Tensor& x, const torch::nn::ConvTranspose2d& conv) {
  const at::Tensor tokens = tokens_of(x);
  const std::int64_t n = tokens.size(0), h = tokens.size(1), w = tokens.size(2);
  const at::Tensor& weight = conv->weight;  // [C, C', 2, 2]
  const std::int64_t out = weight.size(1);
  at::Tensor y = at::matmul(tokens.view({n * h * w, tokens.size(3)}),
                            weight.permute({0, 2, 3, 1}).reshape({weight.size(0), 4 * out}));
  y = y.view({n, h, w, 2, 2, out}).permute({0, 1, 3, 2, 4, 5}).reshape({n, 2 * h, 2 * w, out});
  return map_of(y + conv->bias);
}

bool TokenPyramid::supports(std::int64_t patch) {
  return patch == 8 || patch == 14 || patch == 16 || patch == 32;
}

TokenPyramid::TokenPyramid(torch::nn::Module& owner, std::int64_t channels, std::int64_t patch)
    : patch_(patch) {
  TORCH_CHECK(supports(patch), "a pyramid of patches of ", patch, " is not known");
  const std::int64_t nominal = patch == 14 ? 16 : patch;
  for (std::size_t k = 0; k < kStrides.size(); ++k) {
    const std::string name = "fpn" + std::to_string(k + 1);
    Level level;
    level.norm = torch::nn::GroupNorm(torch::nn::GroupNormOptions(1, channels));
    if (nominal == kStrides[k]) {
      owner.register_module(name, level.norm);
      levels_.push_back(std::move(level));
      continue;
    }
    auto sequential = owner.register_module(name, std::make_shared<torch::nn::Module>());
    int place = 0;
    numbered(*sequential, place++, level.norm);
    for (std::int64_t stride = nominal; stride > kStrides[k]; stride /= 2) {
      if (stride < nominal) {
        level.norms.push_back(numbered(*sequential, place, torch::nn::BatchNorm2d(channels)));
        place += 2;  // a GELU follows
      }
      level.convs.push_back(
          numbered(*sequential, place++,
                   torch::nn::ConvTranspose2d(
                       torch::nn::ConvTranspose2dOptions(channels, channels, 2).stride(2))));
    }
    if (kStrides[k] > nominal) level.pool = kStrides[k] / nominal;
    levels_.push_back(std::move(level));
  }
}

namespace {

// LibTorch 2.11 crashes on the way back through the group norm of a channels-last map that wants no
// gradient itself, as that of a frozen tower.
at::Tensor group_norm(const torch::nn::GroupNorm& norm, const at::Tensor& map) {
  const bool frozen = !map.requires_grad() && norm->weight.requires_grad();
  return norm.ptr()->forward(frozen && at::GradMode::is_enabled() ? map.contiguous() : map);
}

}  // namespace

std::vector<at::Tensor> TokenPyramid::forward(const std::vector<at::Tensor>& maps,
                                              std::int64_t height, std::int64_t width) const {
  TORCH_CHECK(maps.size() == levels_.size(), "a pyramid takes ", levels_.size(), " maps, got ",
              maps.size());
  std::vector<at::Tensor> levels;
  for (std::size_t k = 0; k < maps.size(); ++k) {
    const Level& level = levels_[k];
    at::Tensor x = group_norm(level.norm, maps[k]);
    for (std::size_t i = 0; i < level.convs.size(); ++i) {
      if (i > 0) x = activate_(train_batch_norm(x, *level.norms[i - 1].ptr()), Activation::gelu());
      x = double_size(x, level.convs[i]);
    }
    if (level.pool > 1) {
      x = at::max_pool2d(x, level.pool, level.pool, 0, 1, /*ceil_mode=*/true);
    }
    const std::int64_t rows = (height + kStrides[k] - 1) / kStrides[k];
    const std::int64_t columns = (width + kStrides[k] - 1) / kStrides[k];
    if (patch_ == 14) {
      x = resize(x, rows, columns);
    } else if (x.size(2) != rows || x.size(3) != columns) {
      x = x.narrow(2, 0, rows).narrow(3, 0, columns);
    }
    levels.push_back(std::move(x));
  }
  return levels;
}

}  // namespace strata::nn
