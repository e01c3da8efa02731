// Attention of transformers, over tokens [N, L, C].
#pragma once

#include <torch/nn/modules/linear.h>

#include <cstdint>
#include <optional>
#include <string>

#include "framework/nn/activation.hpp"

namespace strata::nn {

struct AttentionOptions {
  /// Added to the scores, or bool (false hides a key); broadcastable to [N, heads, Lq, Lk].
  at::Tensor mask{};
  bool causal = false;            // a token sees itself and the ones before it
  std::optional<double> scale{};  // of the scores; default: 1 / sqrt(width of a head)
  double dropout = 0.0;           // of the weights; a caller passes 0 in evaluation
};

/// softmax(q k^T scale + mask) v in `heads` heads: q [N, Lq, C], k [N, Lk, C], v [N, Lk, C'] ->
/// [N, Lq, C']. Views of one tensor need no copy. The weights [N, heads, Lq, Lk] are never stored,
/// unless there is dropout, a mask that asks for a gradient, or C' differs from C.
STRATA_API at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                std::int64_t heads, const AttentionOptions& options = {});

/// The same of queries, keys and values side by side: [N, L, 3C] -> [N, L, C].
STRATA_API at::Tensor self_attention(const at::Tensor& qkv, std::int64_t heads,
                                     const AttentionOptions& options = {});

/// Self-attention with children `qkv` and `proj`, as timm and Swin name them.
class STRATA_API QkvAttention final : public torch::nn::Module {
 public:
  QkvAttention(std::int64_t width, std::int64_t heads, bool qkv_bias = true);
  /// [N, L, width] -> [N, L, width]; `options` as above.
  at::Tensor forward(const at::Tensor& x, const AttentionOptions& options = {}) const;

 private:
  std::int64_t heads_;
  torch::nn::Linear qkv_{nullptr}, proj_{nullptr};
};

/// Attention with the parameters of PyTorch's MultiheadAttention, as CLIP has it:
/// `in_proj_weight`, `in_proj_bias` and the child `out_proj`.
class STRATA_API PackedAttention final : public torch::nn::Module {
 public:
  PackedAttention(std::int64_t width, std::int64_t heads);
  /// [N, L, width] -> [N, L, width]; `options` as above.
  at::Tensor forward(const at::Tensor& x, const AttentionOptions& options = {}) const;
  /// Queries from one side [N, Lq, width], keys and values from the other [N, Lk, width].
  at::Tensor forward(const at::Tensor& q, const at::Tensor& kv,
                     const AttentionOptions& options = {}) const;

 private:
  std::int64_t heads_;
  at::Tensor in_proj_weight_, in_proj_bias_;
  torch::nn::Linear out_proj_{nullptr};
};

struct MlpOptions {
  Activation activation = Activation::gelu();
  double dropout = 0.0;  // after each layer
  std::string first = "fc1", second = "fc2";
};

/// Two linear layers around an activation: [..., width] -> [..., width].
class STRATA_API Mlp final : public torch::nn::Module {
 public:
  Mlp(std::int64_t width, std::int64_t hidden, const MlpOptions& options = {});
  at::Tensor forward(const at::Tensor& x) const;

 private:
  MlpOptions options_;
  torch::nn::Linear first_{nullptr}, second_{nullptr};
};

/// x + branch, into the memory of `branch` where no gradient is wanted: a branch is a temporary
/// that nobody else holds. (While training this must not be done: a linear layer of tokens gives a
/// view, and autograd pays for changing one in place.)
STRATA_API at::Tensor add_residual(const at::Tensor& x, at::Tensor branch);

}  // namespace strata::nn
