#include "framework/nn/clip_block.hpp"

#include <cmath>

#include "framework/nn/init.hpp"

namespace strata::nn {

ClipBlock::ClipBlock(std::int64_t width, std::int64_t heads, double drop_path) : width_(width) {
  const torch::nn::LayerNormOptions norm({width});
  attention_ = register_module("attn", std::make_shared<PackedAttention>(width, heads));
  norm1_ = register_module("ln_1", torch::nn::LayerNorm(norm));
  mlp_ = register_module(
      "mlp",
      std::make_shared<Mlp>(
          width, 4 * width,
          MlpOptions{.activation = Activation::quick_gelu(), .first = "c_fc", .second = "c_proj"}));
  norm2_ = register_module("ln_2", torch::nn::LayerNorm(norm));
  if (drop_path > 0) {
    drop_path_ = register_module("drop_path", std::make_shared<DropPath>(drop_path));
  }
}

at::Tensor ClipBlock::forward(const at::Tensor& x, bool causal) const {
  const auto dropped = [&](at::Tensor branch) {
    return drop_path_ ? drop_path_->forward(branch) : branch;
  };
  const at::Tensor y =
      add_residual(x, dropped(attention_->forward(norm1_.ptr()->forward(x), {.causal = causal})));
  return add_residual(y, dropped(mlp_->forward(norm2_.ptr()->forward(y))));
}

void ClipBlock::init_as_text(std::int64_t blocks) {
  const double std = std::pow(static_cast<double>(width_), -0.5);
  const double last = std * std::pow(2.0 * static_cast<double>(blocks), -0.5);
  for (auto& item : named_parameters()) {
    const std::string& name = item.key();
    if (name == "attn.in_proj_weight") {
      normal_(item.value(), 0, std);
    } else if (name == "mlp.c_fc.weight") {
      normal_(item.value(), 0, std * std::sqrt(0.5));
    } else if (name == "attn.out_proj.weight" || name == "mlp.c_proj.weight") {
      normal_(item.value(), 0, last);
    }
  }
}

ClipTransformer::ClipTransformer(std::int64_t width, std::int64_t heads, std::int64_t layers,
                                 double drop_path)
    : blocks_(register_module("resblocks", std::make_shared<LayerList<ClipBlock>>())) {
  for (std::int64_t i = 0; i < layers; ++i) {
    blocks_->add(std::make_shared<ClipBlock>(width, heads, rising_drop_path(drop_path, i, layers)));
  }
}

}  // namespace strata::nn
