#include "framework/nn/swin.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/roll.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "framework/nn/activation.hpp"
#include "framework/nn/attention.hpp"
#include "framework/nn/init.hpp"

namespace strata::nn {
namespace {

constexpr double kHidden = -100;  // added to the scores of tokens that are no neighbours

/// Row of the bias table for each pair of tokens of a window: [w^2, w^2].
at::Tensor relative_position_index(std::int64_t window) {
  const at::Tensor place = at::arange(window, at::kLong);
  const at::Tensor row = place.repeat_interleave(window), column = place.repeat({window});
  const auto difference = [](const at::Tensor& x) { return x.unsqueeze(1) - x.unsqueeze(0); };
  return (difference(row) + window - 1) * (2 * window - 1) + (difference(column) + window - 1);
}

/// Which of the strips [0, -window), [-window, -shift), [-shift, end) a place belongs to.
at::Tensor strips(std::int64_t size, std::int64_t window, std::int64_t shift) {
  const at::Tensor place = at::arange(size, at::kLong);
  return place.ge(size - window).to(at::kLong) + place.ge(size - shift).to(at::kLong);
}

/// [N, H, W, ...] -> [N, H / w, W / w, w, w, ...]: a view.
at::Tensor windows_of(const at::Tensor& x, std::int64_t window) {
  return x.unflatten(2, {x.size(2) / window, window})
      .unflatten(1, {x.size(1) / window, window})
      .transpose(2, 3);
}

}  // namespace

WindowAttention::WindowAttention(const SwinBlockOptions& options)
    : heads_(options.heads),
      window_(options.window),
      shift_(options.shift),
      attention_dropout_(options.attention_dropout),
      dropout_(options.dropout) {
  TORCH_CHECK(options.width % heads_ == 0, "width ", options.width, " is not divided by ", heads_,
              " heads");
  TORCH_CHECK(shift_ >= 0 && shift_ < window_, "shift ", shift_, " is not below the window");
  scale_ = options.qk_scale.value_or(1 / std::sqrt(static_cast<double>(options.width / heads_)));
  const std::int64_t positions = (2 * window_ - 1) * (2 * window_ - 1);
  table_ = register_parameter("relative_position_bias_table", at::empty({positions, heads_}));
  index_ = register_buffer("relative_position_index", relative_position_index(window_));
  qkv_ = register_module(
      "qkv",
      torch::nn::Linear(
          torch::nn::LinearOptions(options.width, 3 * options.width).bias(options.qkv_bias)));
  proj_ = register_module("proj", torch::nn::Linear(options.width, options.width));
  truncated_normal_(table_, 0.02);
}

at::Tensor WindowAttention::bias(std::int64_t rows, std::int64_t columns) const {
  const std::int64_t tokens = window_ * window_;
  const at::Tensor table = table_.index_select(0, index_.flatten())
                               .view({1, tokens, tokens, heads_})
                               .permute({0, 3, 1, 2});
  if (shift_ == 0) return table;
  const at::Tensor strip = strips(rows, window_, shift_).unsqueeze(1) * 3 +
                           strips(columns, window_, shift_).unsqueeze(0);
  const at::Tensor region = windows_of(strip.unsqueeze(0), window_).reshape({-1, tokens});
  const at::Tensor strangers = region.unsqueeze(1).ne(region.unsqueeze(2));
  return table + strangers.unsqueeze(1).to(table.device(), table.scalar_type()) * kHidden;
}

at::Tensor WindowAttention::forward(const at::Tensor& x) const {
  const std::int64_t n = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  const std::int64_t below = (window_ - height % window_) % window_;
  const std::int64_t right = (window_ - width % window_) % window_;
  at::Tensor y = x;
  if (below > 0 || right > 0) y = at::constant_pad_nd(y, {0, 0, 0, right, 0, below});
  const std::int64_t rows = height + below, columns = width + right, tokens = window_ * window_;
  if (shift_ > 0) y = at::roll(y, {-shift_, -shift_}, {1, 2});

  // Linear layers work on tokens in any order, so that windows are gathered once, with the heads.
  const at::Tensor qkv = windows_of(qkv_.ptr()->forward(y), window_)
                             .unflatten(-1, {3, heads_, channels / heads_})
                             .permute({5, 0, 1, 2, 6, 3, 4, 7})
                             .reshape({3, -1, heads_, tokens, channels / heads_});
  at::Tensor scores = at::matmul(qkv[0] * scale_, qkv[1].transpose(2, 3));
  const at::Tensor added = bias(rows, columns);
  if (shift_ > 0) {
    scores = scores.unflatten(0, {n, -1}).add_(added).flatten(0, 1);
  } else {
    scores = scores.add_(added);
  }
  at::Tensor weights = at::softmax(scores, -1);
  if (attention_dropout_ > 0) weights = at::dropout(weights, attention_dropout_, is_training());
  y = at::matmul(weights, qkv[2])
          .view({n, rows / window_, columns / window_, heads_, window_, window_, channels / heads_})
          .permute({0, 1, 4, 2, 5, 3, 6})
          .reshape({n, rows, columns, channels});
  y = proj_.ptr()->forward(y);
  if (dropout_ > 0) y = at::dropout(y, dropout_, is_training());

  if (shift_ > 0) y = at::roll(y, {shift_, shift_}, {1, 2});
  if (below > 0 || right > 0) y = y.narrow(1, 0, height).narrow(2, 0, width);
  return y;
}

SwinBlock::SwinBlock(const SwinBlockOptions& options) : dropout_(options.dropout) {
  const auto norm = [&] {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width}));
  };
  const std::int64_t hidden = options.hidden > 0 ? options.hidden : 4 * options.width;
  const auto container = [](torch::nn::Module& owner, const char* name) {
    return owner.register_module(name, std::make_shared<torch::nn::Module>());
  };
  norm1_ = register_module("norm1", norm());
  attention_ = std::make_shared<WindowAttention>(options);
  fc1_ = torch::nn::Linear(options.width, hidden);
  fc2_ = torch::nn::Linear(hidden, options.width);
  if (options.names == SwinNames::mmseg) {
    container(*this, "attn")->register_module("w_msa", attention_);
    norm2_ = register_module("norm2", norm());
    const auto layers = container(*container(*this, "ffn"), "layers");
    container(*layers, "0")->register_module("0", fc1_);
    layers->register_module("1", fc2_);
  } else {
    register_module("attn", attention_);
    norm2_ = register_module("norm2", norm());
    const auto mlp = container(*this, "mlp");
    mlp->register_module("fc1", fc1_);
    mlp->register_module("fc2", fc2_);
  }
  drop_path_ = register_module("drop_path", std::make_shared<DropPath>(options.drop_path));
}

at::Tensor SwinBlock::forward(const at::Tensor& x) const {
  const auto drop = [&](at::Tensor y) {
    return dropout_ > 0 ? at::dropout(y, dropout_, is_training()) : y;
  };
  at::Tensor y =
      add_residual(x, drop_path_->forward(attention_->forward(norm1_.ptr()->forward(x))));
  at::Tensor z = activate_(fc1_.ptr()->forward(norm2_.ptr()->forward(y)), Activation::gelu());
  z = drop(fc2_.ptr()->forward(drop(z)));
  return add_residual(y, drop_path_->forward(z));
}

}  // namespace strata::nn
