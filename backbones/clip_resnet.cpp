// The image towers of CLIP that are residual networks (Radford et al., ICML 2021), with an attention
// pool that keeps its map (DenseCLIP, Rao et al., CVPR 2022). Names of parameters as in OpenAI's
// archives, below `visual`.
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <cmath>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/io/adapts_weights.hpp"
#include "framework/nn/attention.hpp"
#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/position_embedding.hpp"
#include "framework/nn/residual.hpp"
#include "framework/nn/tokens.hpp"

namespace strata::backbones {
namespace {

constexpr std::int64_t kLastStride = 32;
constexpr std::int64_t kHeadWidth = 64;

struct ClipResNetOptions {
  std::vector<std::int64_t> layers = {3, 4, 6, 3};
  std::int64_t width = 64;
  std::int64_t output_dim = 1024;
  std::int64_t input_resolution = 512;
  bool get_embeddings = true;

  static auto fields() {
    using config::field;
    using O = ClipResNetOptions;
    return std::tuple{
        field("layers", &O::layers, "blocks of each stage: [3, 4, 6, 3] is RN50, [3, 4, 23, 3] RN101")
            .size(4)
            .at_least(1),
        field("width", &O::width, "planes of the first stage; each later one has twice as many")
            .at_least(2),
        field("output_dim", &O::output_dim,
              "channels of the embeddings: 1024 for RN50, 512 for RN101")
            .at_least(1),
        field("input_resolution", &O::input_resolution,
              "side of the images that the pool has positions for, one for each 32 x 32 pixels. "
              "CLIP's own are for 224 and are resized when they are loaded, as DenseCLIP does; "
              "images of other sizes resize them (again)")
            .at_least(kLastStride),
        field("get_embeddings", &O::get_embeddings,
              "give the extras \"global\" and \"dense\": images and their places beside texts")};
  }
};

/// Attention among all places of a map and their mean; the result of the mean is the image's.
class ClipAttentionPool final : public torch::nn::Module, public io::AdaptsWeights {
 public:
  ClipAttentionPool(std::int64_t side, std::int64_t channels, std::int64_t heads, std::int64_t out)
      : heads_(heads) {
    const double std = std::pow(static_cast<double>(channels), -0.5);
    positions_ =
        register_parameter("positional_embedding", at::empty({side * side + 1, channels}));
    nn::normal_(positions_, 0, std);
    const auto linear = [&](const char* name, std::int64_t width) {
      auto layer = register_module(name, torch::nn::Linear(channels, width));
      nn::normal_(layer->weight, 0, std);
      return layer;
    };
    k_proj_ = linear("k_proj", channels);
    q_proj_ = linear("q_proj", channels);
    v_proj_ = linear("v_proj", channels);
    c_proj_ = linear("c_proj", out);
  }

  /// [N, C, h, w] -> [N, 1 + h w, out], the image first
  at::Tensor forward(const at::Tensor& map) {
    const at::Tensor tokens = nn::tokens_of(map).flatten(1, 2);
    const at::Tensor x =
        at::cat({tokens.mean(1, /*keepdim=*/true), tokens}, 1) +
        nn::resize_position_embedding(positions_, 1, map.size(2), map.size(3),
                                      nn::PositionResize::bilinear);
    return c_proj_->forward(nn::attention(q_proj_->forward(x), k_proj_->forward(x),
                                          v_proj_->forward(x), heads_));
  }

  at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                          const at::Tensor& loaded) const override {
    if (name != "positional_embedding") return {};
    return nn::adapt_position_embedding(loaded, own, 1, nn::PositionResize::bilinear);
  }

 private:
  std::int64_t heads_;
  at::Tensor positions_;
  torch::nn::Linear q_proj_{nullptr}, k_proj_{nullptr}, v_proj_{nullptr}, c_proj_{nullptr};
};

class CLIPResNetWithAttention final : public TrunkBackbone {
 public:
  CLIPResNetWithAttention(const ClipResNetOptions& options, const Context& context)
      : get_embeddings_(options.get_embeddings) {
    output(options, context.input);
    const std::int64_t width = options.width, half = width / 2;
    add_stem(1, image_channels(context.input), half, 2);
    add_stem(2, half, half, 1);
    add_stem(3, half, width, 1);
    std::int64_t channels = width;
    for (std::size_t i = 0; i < 4; ++i) {
      const std::int64_t planes = width << i;
      auto stage = std::make_shared<nn::LayerList<nn::ResidualBlock>>();
      for (std::int64_t k = 0; k < options.layers[i]; ++k) {
        stage->add(std::make_shared<nn::Bottleneck>(
            nn::ResidualOptions{.in_channels = channels,
                                .planes = planes,
                                .stride = k == 0 && i > 0 ? 2 : 1,
                                .anti_alias = true,
                                .zero_init = true}));
        channels = nn::Bottleneck::expansion * planes;
      }
      stages_.push_back(register_module("layer" + std::to_string(i + 1), std::move(stage)));
    }
    attention_pool_ = register_module(
        "attnpool", std::make_shared<ClipAttentionPool>(options.input_resolution / kLastStride,
                                                        channels, channels / kHeadWidth,
                                                        options.output_dim));
    if (!get_embeddings_) nn::set_unused(*attention_pool_);
  }

  static FeatureSpec output(const ClipResNetOptions& options, const FeatureSpec&) {
    if (options.width % 2 != 0) {
      throw OptionError("width", fmt::format("must be even, got {}", options.width));
    }
    if (options.input_resolution % kLastStride != 0) {
      throw OptionError("input_resolution", fmt::format("must be a multiple of {}, got {}",
                                                        kLastStride, options.input_resolution));
    }
    FeatureSpec spec;
    for (std::int64_t i = 0; i < 4; ++i) {
      spec.levels.push_back({std::to_string(i),
                             nn::Bottleneck::expansion * (options.width << i),
                             std::int64_t{4} << i});
    }
    if (options.get_embeddings) {
      spec.extras = {{"global", options.output_dim}, {"dense", options.output_dim}};
    }
    return spec;
  }

  /// [N, C, H, W] -> levels [N, c, ceil(H / stride), ceil(W / stride)]; extras "global" [N, E],
  /// "dense" [N, E, h, w] at the last level's size
  Features trunk(const at::Tensor& images) override {
    at::Tensor x = images;
    for (const auto& [conv, norm] : stem_) {
      x = nn::conv_norm_act(conv, norm, nn::Activation::relu(), x);
    }
    x = at::avg_pool2d(x, 2, 2, 0, /*ceil_mode=*/true, /*count_include_pad=*/false);
    Features features;
    for (const auto& stage : stages_) {
      x = stage->forward(x);
      features.levels.push_back(x);
    }
    if (!get_embeddings_) return features;
    const at::Tensor tokens = attention_pool_->forward(x);
    features.extras["global"] = tokens.select(1, 0);
    features.extras["dense"] = nn::map_of(
        tokens.narrow(1, 1, tokens.size(1) - 1).unflatten(1, {x.size(2), x.size(3)}));
    return features;
  }

  Features finish(Features trunk, std::int64_t, std::int64_t) override { return trunk; }

  /// The stem, every block, the pool.
  Layers layers() const override {
    Layers layers{{"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}};
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      append_children(layers, "layer" + std::to_string(i + 1), *stages_[i]);
    }
    layers.push_back({"attnpool"});
    return layers;
  }

 private:
  void add_stem(int number, std::int64_t in, std::int64_t out, std::int64_t stride) {
    const std::string suffix = std::to_string(number);
    auto conv = register_module("conv" + suffix,
                                nn::conv2d(in, out, 3, {.stride = stride, .padding = 1}));
    nn::kaiming_normal_(conv->weight);
    nn::Norm norm(out, nn::NormOptions{});
    register_module("bn" + suffix, norm.module());
    stem_.emplace_back(std::move(conv), std::move(norm));
  }

  bool get_embeddings_;
  std::vector<std::pair<torch::nn::Conv2d, nn::Norm>> stem_;
  std::vector<std::shared_ptr<nn::LayerList<nn::ResidualBlock>>> stages_;
  std::shared_ptr<ClipAttentionPool> attention_pool_;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_clip_resnet) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, CLIPResNetWithAttention, ClipResNetOptions>(
      "CLIPResNetWithAttention", "image tower of CLIP, RN50 or RN101, with dense embeddings");
}
