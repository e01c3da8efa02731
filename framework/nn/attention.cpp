#include "framework/nn/attention.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "framework/nn/init.hpp"

namespace strata::nn {
namespace {

/// [N, L, C] -> [N, heads, L, C / heads], a view.
at::Tensor split_heads(const at::Tensor& x, std::int64_t heads) {
  TORCH_CHECK(x.dim() == 3 && x.size(2) % heads == 0, "attention of ", heads,
              " heads takes [N, L, C] with C a multiple of them, got ", x.sizes());
  return x.unflatten(2, {heads, x.size(2) / heads}).transpose(1, 2);
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     std::int64_t heads, const AttentionOptions& options) {
  const auto mask = options.mask.defined() ? std::optional<at::Tensor>(options.mask) : std::nullopt;
  const at::Tensor y = at::scaled_dot_product_attention(
      split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), mask, options.dropout,
      options.causal, options.scale);
  return y.transpose(1, 2).flatten(2);
}

at::Tensor self_attention(const at::Tensor& qkv, std::int64_t heads,
                          const AttentionOptions& options) {
  const auto parts = qkv.chunk(3, 2);
  return attention(parts[0], parts[1], parts[2], heads, options);
}

QkvAttention::QkvAttention(std::int64_t width, std::int64_t heads, bool qkv_bias) : heads_(heads) {
  qkv_ = register_module(
      "qkv", torch::nn::Linear(torch::nn::LinearOptions(width, 3 * width).bias(qkv_bias)));
  proj_ = register_module("proj", torch::nn::Linear(width, width));
}

at::Tensor QkvAttention::forward(const at::Tensor& x, const AttentionOptions& options) const {
  return proj_.ptr()->forward(self_attention(qkv_.ptr()->forward(x), heads_, options));
}

PackedAttention::PackedAttention(std::int64_t width, std::int64_t heads) : heads_(heads) {
  in_proj_weight_ = register_parameter("in_proj_weight", at::empty({3 * width, width}));
  in_proj_bias_ = register_parameter("in_proj_bias", at::empty({3 * width}));
  out_proj_ = register_module("out_proj", torch::nn::Linear(width, width));
  xavier_uniform_(in_proj_weight_);
  constant_(in_proj_bias_, 0);
  constant_(out_proj_->bias, 0);
}

at::Tensor PackedAttention::forward(const at::Tensor& x, const AttentionOptions& options) const {
  const at::Tensor qkv = at::linear(x, in_proj_weight_, in_proj_bias_);
  return out_proj_.ptr()->forward(self_attention(qkv, heads_, options));
}

at::Tensor PackedAttention::forward(const at::Tensor& q, const at::Tensor& kv,
                                    const AttentionOptions& options) const {
  const std::int64_t width = q.size(2);
  const auto weights = in_proj_weight_.split_with_sizes({width, 2 * width});
  const auto biases = in_proj_bias_.split_with_sizes({width, 2 * width});
  const auto keys = at::linear(kv, weights[1], biases[1]).chunk(2, 2);
  return out_proj_.ptr()->forward(
      attention(at::linear(q, weights[0], biases[0]), keys[0], keys[1], heads_, options));
}

Mlp::Mlp(std::int64_t width, std::int64_t hidden, const MlpOptions& options) : options_(options) {
  first_ = register_module(options.first, torch::nn::Linear(width, hidden));
  second_ = register_module(options.second, torch::nn::Linear(hidden, width));
}

at::Tensor Mlp::forward(const at::Tensor& x) const {
  at::Tensor y = activate_(first_.ptr()->forward(x), options_.activation);
  if (options_.dropout > 0) y = at::dropout(y, options_.dropout, is_training());
  y = second_.ptr()->forward(y);
  return options_.dropout > 0 ? at::dropout(y, options_.dropout, is_training()) : y;
}

at::Tensor add_residual(const at::Tensor& x, at::Tensor branch) {
  const bool differentiable =
      at::GradMode::is_enabled() && (x.requires_grad() || branch.requires_grad());
  return differentiable ? x + branch : branch.add_(x);
}

}  // namespace strata::nn
