// The parts of Swin transformers (Liu et al., ICCV 2021): attention inside windows, which every
// other block shifts by half a window.
#pragma once

#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "framework/nn/drop_path.hpp"

namespace strata::nn {

/// The child names inside a block: `attn.w_msa.qkv`, `ffn.layers.0.0`, `ffn.layers.1` of mmseg, or
/// `attn.qkv`, `mlp.fc1`, `mlp.fc2` of the authors' code.
enum class SwinNames { mmseg, original };

struct SwinBlockOptions {
  std::int64_t width = 96;
  std::int64_t heads = 3;
  std::int64_t window = 7;
  std::int64_t shift = 0;   // of the windows, below `window`
  std::int64_t hidden = 0;  // of the MLP, 0: four times the width
  bool qkv_bias = true;
  std::optional<double> qk_scale{};  // default: 1 / sqrt(width of a head)
  double dropout = 0.0;
  double attention_dropout = 0.0;
  double drop_path = 0.0;
  SwinNames names = SwinNames::mmseg;
};

/// Multi-head attention among the tokens of each window, with a learned bias for every relative
/// position. Parameters `relative_position_bias_table` [(2w - 1)^2, heads] (drawn from a normal
/// distribution of deviation 0.02), `qkv`, `proj`; buffer `relative_position_index` [w^2, w^2].
class STRATA_API WindowAttention final : public torch::nn::Module {
 public:
  explicit WindowAttention(const SwinBlockOptions& options);
  /// [N, H, W, width] -> the same. A map that windows do not divide is padded with zeros at the
  /// right and below, which take part in the attention; windows are cyclically shifted by `shift`,
  /// and tokens that were no neighbours before (scores - 100) do not see each other.
  at::Tensor forward(const at::Tensor& x) const;

 private:
  /// [1 or windows of a map, heads, w^2, w^2]
  at::Tensor bias(std::int64_t rows, std::int64_t columns) const;

  std::int64_t heads_, window_, shift_;
  double scale_, attention_dropout_, dropout_;
  at::Tensor table_, index_;
  torch::nn::Linear qkv_{nullptr}, proj_{nullptr};
};

/// x + attention(norm1(x)), then + mlp(norm2(x)).
class STRATA_API SwinBlock : public torch::nn::Module {
 public:
  explicit SwinBlock(const SwinBlockOptions& options);
  /// [N, H, W, width] -> the same.
  at::Tensor forward(const at::Tensor& x) const;

 private:
  double dropout_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  std::shared_ptr<WindowAttention> attention_;
  torch::nn::Linear fc1_{nullptr}, fc2_{nullptr};
  std::shared_ptr<DropPath> drop_path_;
};

}  // namespace strata::nn
