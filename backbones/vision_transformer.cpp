// Vision transformer (Dosovitskiy et al., ICLR 2021) and DeiT (Touvron et al., ICML 2021) with
// timm's parameter names, and a pyramid on top (framework/nn/token_pyramid.hpp) so that it gives
// four levels as every backbone does.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/io/adapts_weights.hpp"
#include "framework/nn/attention.hpp"
#include "framework/nn/drop_path.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/position_embedding.hpp"
#include "framework/nn/token_pyramid.hpp"
#include "framework/nn/tokens.hpp"

namespace strata::backbones {
namespace {

/// One row a variant; options that are written replace its columns.
struct VitSize {
  const char* name;
  std::int64_t patch, width, depth, heads;
};
constexpr VitSize kVitSizes[] = {
    {"deit-tiny", 16, 192, 12, 3},  {"deit-small", 16, 384, 12, 6}, {"deit-base", 16, 768, 12, 12},
    {"vit-ti/16", 16, 192, 12, 3},  {"vit-s/16", 16, 384, 12, 6},   {"vit-s/32", 32, 384, 12, 6},
    {"vit-b/8", 8, 768, 12, 12},    {"vit-b/16", 16, 768, 12, 12},  {"vit-b/32", 32, 768, 12, 12},
    {"vit-l/14", 14, 1024, 24, 16}, {"vit-l/16", 16, 1024, 24, 16}, {"vit-h/14", 14, 1280, 32, 16}};

struct VisionTransformerOptions {
  std::string variant = "deit-small";
  std::int64_t img_size = 224;
  std::optional<std::int64_t> patch_size, embed_dim, depth, num_heads;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  double drop_path_rate = 0.0;
  std::vector<std::int64_t> out_indices;
  std::optional<std::int64_t> out_channels;
  bool pyramid = true;

  static auto fields() {
    using config::field;
    using O = VisionTransformerOptions;
    std::vector<std::string> names;
    for (const VitSize& size : kVitSizes) names.emplace_back(size.name);
    return std::tuple{
        field("variant", &O::variant,
              "size; each of the next four, where written, replaces its own")
            .one_of(names),
        field("patch_size", &O::patch_size, "pixels that a side of a patch has").at_least(1),
        field("embed_dim", &O::embed_dim, "width of a token").at_least(1),
        field("depth", &O::depth, "blocks").at_least(1),
        field("num_heads", &O::num_heads, "attention heads of a block").at_least(1),
        field("img_size", &O::img_size,
              "size of the images that the position embedding is held for; others have it resized")
            .at_least(1),
        field("mlp_ratio", &O::mlp_ratio, "hidden width of a block's MLP, in widths").above(0),
        field("qkv_bias", &O::qkv_bias, "biases of queries, keys and values"),
        field("drop_path_rate", &O::drop_path_rate,
              "probability of dropping the last block's branches, growing linearly from 0")
            .at_least(0)
            .below(1),
        field("out_indices", &O::out_indices,
              "blocks whose results are the levels; default: at a third, a half, two thirds and "
              "the end (3, 5, 7 and 11 of 12)"),
        field("out_channels", &O::out_channels,
              "channels of every level, by one linear layer that they share; left out: embed_dim")
            .at_least(1),
        field("pyramid", &O::pyramid,
              "bring four levels to strides 4, 8, 16 and 32; without, all stay at the patches'")};
  }
};

struct VitPlan {
  VitSize size;
  std::int64_t hidden, channels;
  std::vector<std::int64_t> taps;
};

VitPlan vit_plan(const VisionTransformerOptions& options) {
  const auto* row = std::begin(kVitSizes);
  while (options.variant != row->name) ++row;
  VitPlan plan{*row, 0, 0, options.out_indices};
  VitSize& size = plan.size;
  size.patch = options.patch_size.value_or(size.patch);
  size.width = options.embed_dim.value_or(size.width);
  size.depth = options.depth.value_or(size.depth);
  size.heads = options.num_heads.value_or(size.heads);
  if (size.width % size.heads != 0) {
    throw OptionError("num_heads", fmt::format("must divide the width of a token, {}, got {}",
                                               size.width, size.heads));
  }
  plan.hidden = std::llround(static_cast<double>(size.width) * options.mlp_ratio);
  if (plan.hidden < 1) {
    throw OptionError("mlp_ratio",
                      fmt::format("leaves no hidden width, got {}", options.mlp_ratio));
  }
  plan.channels = options.out_channels.value_or(size.width);
  if (plan.taps.empty()) {
    for (const std::int64_t sixths : {2, 3, 4, 6}) {
      plan.taps.push_back(std::max<std::int64_t>(size.depth * sixths / 6, 1) - 1);
    }
  }
  for (std::size_t i = 0; i < plan.taps.size(); ++i) {
    if (plan.taps[i] < 0 || plan.taps[i] >= size.depth) {
      throw OptionError("out_indices",
                        fmt::format("blocks are 0 to {}, got {}", size.depth - 1, plan.taps[i]));
    }
    if (i > 0 && plan.taps[i] < plan.taps[i - 1]) {
      throw OptionError("out_indices",
                        fmt::format("must rise, got {} after {}", plan.taps[i], plan.taps[i - 1]));
    }
  }
  if (!options.pyramid) return plan;
  if (plan.taps.size() != nn::TokenPyramid::kStrides.size()) {
    throw OptionError("out_indices", fmt::format("a pyramid is made of four, got {}; write four, "
                                                 "or pyramid = false",
                                                 plan.taps.size()));
  }
  if (!nn::TokenPyramid::supports(size.patch)) {
    throw OptionError("patch_size", fmt::format("a pyramid needs patches of 8, 14, 16 or 32, got "
                                                "{}; change it, or write pyramid = false",
                                                size.patch));
  }
  return plan;
}

/// x + attention(norm1(x)), then + mlp(norm2(x)).
class VitBlock final : public torch::nn::Module {
 public:
  VitBlock(const VitPlan& plan, bool qkv_bias, double drop_path) {
    const auto norm = [&] {
      return torch::nn::LayerNorm(torch::nn::LayerNormOptions({plan.size.width}).eps(1e-6));
    };
    norm1_ = register_module("norm1", norm());
    attention_ = register_module(
        "attn", std::make_shared<nn::QkvAttention>(plan.size.width, plan.size.heads, qkv_bias));
    norm2_ = register_module("norm2", norm());
    mlp_ = register_module("mlp", std::make_shared<nn::Mlp>(plan.size.width, plan.hidden));
    drop_path_ = register_module("drop_path", std::make_shared<nn::DropPath>(drop_path));
  }
  at::Tensor forward(const at::Tensor& x) const {
    const at::Tensor y =
        nn::add_residual(x, drop_path_->forward(attention_->forward(norm1_.ptr()->forward(x))));
    return nn::add_residual(y, drop_path_->forward(mlp_->forward(norm2_.ptr()->forward(y))));
  }

 private:
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  std::shared_ptr<nn::QkvAttention> attention_;
  std::shared_ptr<nn::Mlp> mlp_;
  std::shared_ptr<nn::DropPath> drop_path_;
};

class VisionTransformer final : public TrunkBackbone, public io::AdaptsWeights {
 public:
  VisionTransformer(const VisionTransformerOptions& options, const Context& context)
      : plan_(vit_plan(options)), pyramid_on_(options.pyramid) {
    const VitSize& size = plan_.size;
    const std::int64_t side = (options.img_size + size.patch - 1) / size.patch;
    cls_token_ = register_parameter("cls_token", at::empty({1, 1, size.width}));
    pos_embed_ = register_parameter("pos_embed", at::empty({1, side * side + 1, size.width}));
    patch_ = nn::conv2d(image_channels(context.input), size.width, size.patch,
                        {.stride = size.patch, .bias = true});
    register_module("patch_embed", std::make_shared<torch::nn::Module>())
        ->register_module("proj", patch_);
    for (std::int64_t i = 0; i < size.depth; ++i) {
      VitBlock& block = blocks_->add(std::make_shared<VitBlock>(
          plan_, options.qkv_bias, nn::rising_drop_path(options.drop_path_rate, i, size.depth)));
      if (i > plan_.taps.back()) nn::set_unused(block);
    }
    register_module("blocks", blocks_);
    auto norm = register_module(
        "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({size.width}).eps(1e-6)));
    nn::set_unused(*norm);
    initialise();
    if (options.out_channels) {
      proj_ = register_module("proj", torch::nn::Linear(size.width, plan_.channels));
    }
    if (options.pyramid) pyramid_ = nn::TokenPyramid(*this, plan_.channels, size.patch);
  }

  static FeatureSpec output(const VisionTransformerOptions& options, const FeatureSpec&) {
    const VitPlan plan = vit_plan(options);
    FeatureSpec spec;
    for (std::size_t i = 0; i < plan.taps.size(); ++i) {
      spec.levels.push_back({std::to_string(i), plan.channels,
                             options.pyramid ? nn::TokenPyramid::kStrides[i] : plan.size.patch});
    }
    return spec;
  }

  /// [N, C, H, W] -> what the chosen blocks give, [N, embed_dim, h, w] at the patches' stride.
  /// Images that are no whole number of patches are padded with zeros at the right and below.
  Features trunk(const at::Tensor& images) override {
    const std::int64_t n = images.size(0);
    at::Tensor x = nn::tokens_of(patch_->forward(nn::whole_patches(images, plan_.size.patch)));
    const std::int64_t rows = x.size(1), columns = x.size(2);
    x = at::cat({cls_token_.expand({n, -1, -1}), x.flatten(1, 2)}, 1);
    x = nn::add_residual(nn::resize_position_embedding(pos_embed_, 1, rows, columns,
                                                       nn::PositionResize::bicubic_antialias),
                         x);
    Features features;
    std::size_t next = 0;
    for (std::int64_t i = 0; i <= plan_.taps.back(); ++i) {
      x = (*blocks_)[static_cast<std::size_t>(i)]->forward(x);
      for (; next < plan_.taps.size() && plan_.taps[next] == i; ++next) {
        const at::Tensor tokens = x.narrow(1, 1, rows * columns);
        features.levels.push_back(nn::map_of(tokens.unflatten(1, {rows, columns})));
      }
    }
    return features;
  }

  /// Levels [N, c, ceil(H / stride), ceil(W / stride)].
  Features finish(Features trunk, std::int64_t height, std::int64_t width) override {
    if (proj_) {
      for (at::Tensor& map : trunk.levels) {
        map = nn::map_of(proj_->forward(map.permute({0, 2, 3, 1})));
      }
    }
    if (pyramid_on_) trunk.levels = pyramid_.forward(trunk.levels, height, width);
    return trunk;
  }

  std::vector<std::string> new_parts() const override {
    std::vector<std::string> parts;
    for (const auto& child : named_children()) {
      if (child.key() == "proj" || child.key().starts_with("fpn")) parts.push_back(child.key());
    }
    return parts;
  }

  /// Embeddings, every block, and what follows them.
  Layers layers() const override {
    Layers layers{{"cls_token", "pos_embed", "patch_embed"}};
    append_children(layers, "blocks", *blocks_);
    layers.push_back(new_parts());
    layers.back().push_back("norm");
    return layers;
  }

  at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                          const at::Tensor& loaded) const override {
    if (name != "pos_embed" || loaded.dim() != 3 || loaded.size(1) < 3) return {};
    const auto adapt = [&](const at::Tensor& embedding) {
      return nn::adapt_position_embedding(embedding, own, 1, nn::PositionResize::bicubic_antialias);
    };
    at::Tensor adapted = adapt(loaded);
    if (adapted.defined()) return adapted;
    // A distilled DeiT has a second token, which is dropped as its own embedding is.
    return adapt(at::cat({loaded.narrow(1, 0, 1), loaded.narrow(1, 2, loaded.size(1) - 2)}, 1));
  }

  /// Weights of classifiers have no levels.
  bool may_be_missing(const std::string& name) const override {
    return name.starts_with("proj.") || name.starts_with("fpn");
  }

 private:
  /// As timm draws them; the patches' convolution keeps PyTorch's own.
  void initialise() {
    nn::truncated_normal_(pos_embed_, 0.02);
    nn::normal_(cls_token_, 0, 1e-6);
    blocks_->apply([](torch::nn::Module& child) {
      auto* linear = child.as<torch::nn::LinearImpl>();
      if (linear == nullptr) return;
      nn::truncated_normal_(linear->weight, 0.02);
      if (linear->bias.defined()) nn::constant_(linear->bias, 0);
    });
  }

  VitPlan plan_;
  bool pyramid_on_;
  at::Tensor cls_token_, pos_embed_;
  torch::nn::Conv2d patch_{nullptr};
  std::shared_ptr<nn::LayerList<VitBlock>> blocks_ = std::make_shared<nn::LayerList<VitBlock>>();
  torch::nn::Linear proj_{nullptr};
  nn::TokenPyramid pyramid_;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_vision_transformer) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, VisionTransformer, VisionTransformerOptions>(
      "VisionTransformer", "tokens of patches that attend to each other, and a pyramid of them");
}
