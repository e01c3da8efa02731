// The transformer of CLIP, which its text tower and its image towers share (Radford et al., ICML
// 2021).
#pragma once

#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>

#include "framework/nn/attention.hpp"
#include "framework/nn/drop_path.hpp"
#include "framework/nn/layers.hpp"

namespace strata::nn {

/// x += attn(ln_1(x)); x += mlp(ln_2(x)), with QuickGELU and a hidden width four times the width.
/// Children `attn` (PackedAttention), `ln_1`, `mlp.c_fc`, `mlp.c_proj`, `ln_2`.
class STRATA_API ClipBlock final : public torch::nn::Module {
 public:
  ClipBlock(std::int64_t width, std::int64_t heads, double drop_path = 0.0);
  /// [N, L, width] -> [N, L, width]; with `causal` a token sees itself and the ones before it.
  at::Tensor forward(const at::Tensor& x, bool causal = false) const;
  /// What CLIP's text tower begins with, in a stack of so many blocks.
  void init_as_text(std::int64_t blocks);

 private:
  std::int64_t width_;
  std::shared_ptr<PackedAttention> attention_;
  std::shared_ptr<Mlp> mlp_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  std::shared_ptr<DropPath> drop_path_;
};

/// Blocks as children "resblocks.0", "resblocks.1", …
class STRATA_API ClipTransformer final : public torch::nn::Module {
 public:
  /// The rate of `drop_path` rises linearly from 0 at the first block.
  ClipTransformer(std::int64_t width, std::int64_t heads, std::int64_t layers,
                  double drop_path = 0.0);
  std::size_t size() const { return blocks_->size(); }
  ClipBlock& operator[](std::size_t i) const { return *(*blocks_)[i]; }

 private:
  std::shared_ptr<LayerList<ClipBlock>> blocks_;
};

}  // namespace strata::nn
