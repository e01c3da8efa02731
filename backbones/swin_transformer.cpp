// Swin transformer (Liu et al., ICCV 2021) with the options, parameter names and padding of mmseg's
// `SwinTransformer`.
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <fmt/format.h>

#include <cmath>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/io/adapts_weights.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/swin.hpp"
#include "framework/nn/tokens.hpp"

namespace strata::backbones {
namespace {

struct SwinSize {
  const char* name;
  std::int64_t width;
  std::vector<std::int64_t> depths, heads;
};

const std::vector<SwinSize>& swin_sizes() {
  static const std::vector<SwinSize> sizes = {{"tiny", 96, {2, 2, 6, 2}, {3, 6, 12, 24}},
                                              {"small", 96, {2, 2, 18, 2}, {3, 6, 12, 24}},
                                              {"base", 128, {2, 2, 18, 2}, {4, 8, 16, 32}},
                                              {"large", 192, {2, 2, 18, 2}, {6, 12, 24, 48}}};
  return sizes;
}

struct SwinTransformerOptions {
  std::string variant = "tiny";
  std::optional<std::int64_t> embed_dims;
  std::optional<std::vector<std::int64_t>> depths, num_heads;
  std::int64_t patch_size = 4;
  std::int64_t window_size = 7;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  std::optional<double> qk_scale;
  bool patch_norm = true;
  double drop_rate = 0.0;
  double attn_drop_rate = 0.0;
  double drop_path_rate = 0.1;
  std::vector<std::int64_t> out_indices = {0, 1, 2, 3};

  static auto fields() {
    using config::field;
    using O = SwinTransformerOptions;
    return std::tuple{
        field("variant", &O::variant,
              "size; each of the next three, where written, replaces its own")
            .one_of({"tiny", "small", "base", "large"}),
        field("embed_dims", &O::embed_dims, "width of the first stage, doubled by each next one")
            .at_least(1),
        field("depths", &O::depths, "blocks of each stage").not_empty().at_least(1),
        field("num_heads", &O::num_heads, "attention heads of each stage").not_empty().at_least(1),
        field("patch_size", &O::patch_size, "pixels that a side of a patch has, a power of two")
            .one_of({1, 2, 4, 8, 16}),
        field("window_size", &O::window_size, "tokens that a side of a window has").at_least(1),
        field("mlp_ratio", &O::mlp_ratio, "hidden width of a block's MLP, in widths").above(0),
        field("qkv_bias", &O::qkv_bias, "biases of queries, keys and values"),
        field("qk_scale", &O::qk_scale, "of the scores; default: 1 / sqrt(width of a head)")
            .above(0),
        field("patch_norm", &O::patch_norm, "normalise the patches' embedding"),
        field("drop_rate", &O::drop_rate, "dropout of tokens, projections and MLPs")
            .at_least(0)
            .below(1),
        field("attn_drop_rate", &O::attn_drop_rate, "dropout of attention weights")
            .at_least(0)
            .below(1),
        field("drop_path_rate", &O::drop_path_rate,
              "probability of dropping the last block's branches, growing linearly from 0")
            .at_least(0)
            .below(1),
        field("out_indices", &O::out_indices,
              "stages to give: 0 to 3 at strides 4 to 32, for patches of 4")
            .not_empty()};
  }
};

/// Options with the variant's values filled in.
SwinSize swin_plan(const SwinTransformerOptions& options) {
  SwinSize plan;
  for (const SwinSize& size : swin_sizes()) {
    if (options.variant == size.name) plan = size;
  }
  plan.width = options.embed_dims.value_or(plan.width);
  if (options.depths) plan.depths = *options.depths;
  if (options.num_heads) plan.heads = *options.num_heads;
  if (plan.heads.size() != plan.depths.size()) {
    throw OptionError("num_heads", fmt::format("must have one number for each of the {} stages, "
                                               "got {}",
                                               plan.depths.size(), plan.heads.size()));
  }
  for (std::size_t i = 0; i < plan.heads.size(); ++i) {
    const std::int64_t width = plan.width << i;
    if (width % plan.heads[i] != 0) {
      throw OptionError("num_heads", fmt::format("must divide the width of stage {}, {}, got {}", i,
                                                 width, plan.heads[i]));
    }
  }
  return plan;
}

/// Four neighbours side by side, normalised and halved: [N, H, W, C] -> [N, ceil(H / 2),
/// ceil(W / 2), 2C]. Children `norm` and `reduction`, whose channels are in the order of mmseg's
/// unfolding: four neighbours of one channel after another.
class PatchMerging final : public torch::nn::Module {
 public:
  explicit PatchMerging(std::int64_t width) : width_(width) {
    norm_ = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({4 * width})));
    reduction_ = register_module(
        "reduction", torch::nn::Linear(torch::nn::LinearOptions(4 * width, 2 * width).bias(false)));
  }
  at::Tensor forward(const at::Tensor& tokens) const {
    at::Tensor x = tokens;
    const std::int64_t below = x.size(1) % 2, right = x.size(2) % 2;
    if (below + right > 0) x = at::constant_pad_nd(x, {0, 0, 0, right, 0, below});
    // Tokens are gathered whole and the few parameters reordered instead of every token's channels.
    x = x.unflatten(2, {-1, 2}).unflatten(1, {-1, 2}).transpose(2, 3).flatten(3);
    const auto gathered = [&](const at::Tensor& parameter) {
      return parameter.unflatten(-1, {width_, 4}).transpose(-2, -1).flatten(-2);
    };
    x = at::layer_norm(x, {4 * width_}, gathered(norm_->weight), gathered(norm_->bias),
                       norm_->options.eps());
    return at::linear(x, gathered(reduction_->weight));
  }

 private:
  std::int64_t width_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear reduction_{nullptr};
};

/// Blocks of one width, and the way to the next stage (none after the last).
struct SwinStage final : torch::nn::Module {
  std::shared_ptr<nn::LayerList<nn::SwinBlock>> blocks =
      std::make_shared<nn::LayerList<nn::SwinBlock>>();
  std::shared_ptr<PatchMerging> downsample;
};

class SwinTransformer final : public Backbone, public io::AdaptsWeights {
 public:
  SwinTransformer(const SwinTransformerOptions& options, const Context& context)
      : options_(options) {
    output(options, context.input);  // checks out_indices
    const SwinSize plan = swin_plan(options);
    const auto layer_norm = [](std::int64_t width) {
      return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
    };
    auto patch_embed = register_module("patch_embed", std::make_shared<torch::nn::Module>());
    patch_ = nn::conv2d(image_channels(context.input), plan.width, options.patch_size,
                        {.stride = options.patch_size, .bias = true});
    patch_embed->register_module("projection", patch_);
    if (options.patch_norm) {
      patch_norm_ = patch_embed->register_module("norm", layer_norm(plan.width));
    }
    std::int64_t blocks = 0, number = 0;
    for (const std::int64_t depth : plan.depths) blocks += depth;
    const auto last = static_cast<std::size_t>(options.out_indices.back());
    for (std::size_t i = 0; i < plan.depths.size(); ++i) {
      auto stage = std::make_shared<SwinStage>();
      const std::int64_t width = plan.width << i;
      for (std::int64_t j = 0; j < plan.depths[i]; ++j, ++number) {
        stage->blocks->add(std::make_shared<nn::SwinBlock>(nn::SwinBlockOptions{
            .width = width,
            .heads = plan.heads[i],
            .window = options.window_size,
            .shift = j % 2 == 0 ? 0 : options.window_size / 2,
            .hidden = std::llround(options.mlp_ratio * static_cast<double>(width)),
            .qkv_bias = options.qkv_bias,
            .qk_scale = options.qk_scale,
            .dropout = options.drop_rate,
            .attention_dropout = options.attn_drop_rate,
            .drop_path = nn::rising_drop_path(options.drop_path_rate, number, blocks)}));
      }
      stage->register_module("blocks", stage->blocks);
      if (i + 1 < plan.depths.size()) {
        stage->downsample =
            stage->register_module("downsample", std::make_shared<PatchMerging>(width));
      }
      if (i > last) nn::set_unused(*stage);
      if (i == last && stage->downsample) nn::set_unused(*stage->downsample);
      stages_->add(std::move(stage));
    }
    register_module("stages", stages_);
    for (const std::int64_t i : options.out_indices) {
      norms_.push_back(register_module("norm" + std::to_string(i), layer_norm(plan.width << i)));
    }
    apply([](torch::nn::Module& child) {
      auto* linear = child.as<torch::nn::LinearImpl>();
      if (linear == nullptr) return;
      nn::truncated_normal_(linear->weight, 0.02);
      if (linear->bias.defined()) nn::constant_(linear->bias, 0);
    });
  }

  static FeatureSpec output(const SwinTransformerOptions& options, const FeatureSpec&) {
    const SwinSize plan = swin_plan(options);
    FeatureSpec spec;
    std::int64_t previous = -1;
    const auto stages = static_cast<std::int64_t>(plan.depths.size());
    for (const std::int64_t i : options.out_indices) {
      if (i < 0 || i >= stages) {
        throw OptionError("out_indices", fmt::format("stages are 0 to {}, got {}", stages - 1, i));
      }
      if (i <= previous) {
        throw OptionError(
            "out_indices",
            fmt::format("levels must be listed from fine to coarse, got {} after {}", i, previous));
      }
      spec.levels.push_back({std::to_string(i), plan.width << i, options.patch_size << i});
      previous = i;
    }
    return spec;
  }

  /// [N, C, H, W] -> levels [N, c, ceil(H / stride), ceil(W / stride)]: images and maps that are
  /// no whole number of patches are padded with zeros at the right and below.
  Features forward(const at::Tensor& images) override {
    at::Tensor x = nn::tokens_of(patch_->forward(nn::whole_patches(images, options_.patch_size)));
    if (patch_norm_) x = patch_norm_->forward(x);
    if (options_.drop_rate > 0) x = at::dropout(x, options_.drop_rate, is_training());
    Features features;
    for (std::size_t i = 0; features.levels.size() < norms_.size(); ++i) {
      const SwinStage& stage = *(*stages_)[i];
      x = stage.blocks->forward(x);
      const std::size_t level = features.levels.size();
      if (options_.out_indices[level] == static_cast<std::int64_t>(i)) {
        features.levels.push_back(nn::map_of(norms_[level]->forward(x)));
      }
      if (level + 1 == norms_.size() && features.levels.size() == norms_.size()) break;
      x = stage.downsample->forward(x);
    }
    return features;
  }

  /// Patches, then every block; what stands between two stages belongs to the block before it.
  Layers layers() const override {
    Layers layers{{"patch_embed"}};
    for (std::size_t i = 0; i < stages_->size(); ++i) {
      const SwinStage& stage = *(*stages_)[i];
      const std::string name = "stages." + std::to_string(i);
      append_children(layers, name + ".blocks", *stage.blocks);
      if (stage.downsample) layers.back().push_back(name + ".downsample");
      if (wanted(options_.out_indices, static_cast<std::int64_t>(i))) {
        layers.back().push_back("norm" + std::to_string(i));
      }
    }
    return layers;
  }

  /// Weights of classifiers have no levels.
  bool may_be_missing(const std::string& name) const override { return name.starts_with("norm"); }

 private:
  SwinTransformerOptions options_;
  torch::nn::Conv2d patch_{nullptr};
  torch::nn::LayerNorm patch_norm_{nullptr};
  std::shared_ptr<nn::LayerList<SwinStage>> stages_ = std::make_shared<nn::LayerList<SwinStage>>();
  std::vector<torch::nn::LayerNorm> norms_;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_swin_transformer) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, SwinTransformer, SwinTransformerOptions>(
      "SwinTransformer", "attention inside windows that every other block shifts");
}
