// The image towers of CLIP that are vision transformers (Radford et al., ICML 2021), with a pyramid
// for dense prediction (DenseCLIP, Rao et al., CVPR 2022). Names of parameters as in OpenAI's
// archives, below `visual`.
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/io/adapts_weights.hpp"
#include "framework/nn/clip_block.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/position_embedding.hpp"
#include "framework/nn/token_pyramid.hpp"
#include "framework/nn/tokens.hpp"

namespace strata::backbones {
namespace {

struct ClipVitSize {
  std::int64_t patch, width, layers, heads, out;
};

const std::map<std::string, ClipVitSize> kClipVits = {{"B/32", {32, 768, 12, 12, 512}},
                                                      {"B/16", {16, 768, 12, 12, 512}},
                                                      {"L/14", {14, 1024, 24, 16, 768}}};

struct ClipVitOptions {
  std::string variant = "B/16";
  std::int64_t input_resolution = 256;
  std::optional<std::int64_t> patch_size, width, layers, heads, output_dim;
  std::optional<std::vector<std::int64_t>> out_indices;
  double drop_path_rate = 0.0;
  bool pyramid = true;
  bool get_embeddings = true;
  bool double_cls_embed = false;

  static auto fields() {
    using config::field;
    using O = ClipVitOptions;
    return std::tuple{
        field("variant", &O::variant, "size that the next options have when they are left out")
            .one_of({"B/32", "B/16", "L/14"}),
        field("input_resolution", &O::input_resolution,
              "side of the images that there are positions for; CLIP's own, for 224, are resized "
              "when they are loaded, and images of other sizes resize them (again)")
            .at_least(1),
        field("patch_size", &O::patch_size, "side of a patch").at_least(1),
        field("width", &O::width, "channels of a token").at_least(1),
        field("layers", &O::layers, "blocks").at_least(1),
        field("heads", &O::heads, "heads of attention").at_least(1),
        field("output_dim", &O::output_dim, "channels of the embeddings").at_least(1),
        field("out_indices", &O::out_indices,
              "blocks behind which levels are taken; left out: [3, 5, 7, 11], of other depths than "
              "12 the last one of each quarter")
            .not_empty(),
        field("drop_path_rate", &O::drop_path_rate,
              "stochastic depth of the last block, rising from 0 at the first")
            .at_least(0)
            .below(1),
        field("pyramid", &O::pyramid,
              "bring the levels to strides 4, 8, 16 and 32 by layers of their own, fpn1 to fpn4, "
              "which no archive of CLIP holds; without: every level at the stride of a patch"),
        field("get_embeddings", &O::get_embeddings,
              "give the extras \"global\" and \"dense\": images and their places beside texts"),
        field("double_cls_embed", &O::double_cls_embed,
              "add the class embedding to its position again, as DenseCLIP and ChangeCLIP do")};
  }

  ClipVitSize size() const {
    const ClipVitSize& base = kClipVits.at(variant);
    return {patch_size.value_or(base.patch), width.value_or(base.width),
            layers.value_or(base.layers), heads.value_or(base.heads),
            output_dim.value_or(base.out)};
  }
  std::vector<std::int64_t> taps() const {
    if (out_indices) return *out_indices;
    const std::int64_t depth = size().layers;
    if (depth == 12) return {3, 5, 7, 11};
    std::vector<std::int64_t> taps;
    for (std::int64_t k = 1; k <= 4; ++k) taps.push_back((depth * k + 3) / 4 - 1);
    return taps;
  }
};

class CLIPVisionTransformer final : public TrunkBackbone, public io::AdaptsWeights {
 public:
  CLIPVisionTransformer(const ClipVitOptions& options, const Context& context)
      : options_(options), size_(options.size()), taps_(options.taps()) {
    output(options, context.input);
    const std::int64_t side = options.input_resolution / size_.patch;
    const double std = std::pow(static_cast<double>(size_.width), -0.5);
    const torch::nn::LayerNormOptions norm({size_.width});
    class_embedding_ = register_parameter("class_embedding", at::empty({size_.width}));
    positional_embedding_ =
        register_parameter("positional_embedding", at::empty({side * side + 1, size_.width}));
    proj_ = register_parameter("proj", at::empty({size_.width, size_.out}));
    for (at::Tensor* parameter : {&class_embedding_, &positional_embedding_, &proj_}) {
      nn::normal_(*parameter, 0, std);
    }
    conv1_ = register_module("conv1", nn::conv2d(image_channels(context.input), size_.width,
                                                 size_.patch, {.stride = size_.patch}));
    ln_pre_ = register_module("ln_pre", torch::nn::LayerNorm(norm));
    transformer_ = register_module(
        "transformer", std::make_shared<nn::ClipTransformer>(size_.width, size_.heads, size_.layers,
                                                             options.drop_path_rate));
    ln_post_ = register_module("ln_post", torch::nn::LayerNorm(norm));
    if (options.pyramid) pyramid_ = nn::TokenPyramid(*this, size_.width, size_.patch);
    if (options.get_embeddings) return;
    proj_.set_requires_grad(false);
    nn::set_unused(*ln_post_);
    for (std::int64_t i = taps_.back() + 1; i < size_.layers; ++i) nn::set_unused(block(i));
  }

  static FeatureSpec output(const ClipVitOptions& options, const FeatureSpec&) {
    const ClipVitSize size = options.size();
    if (size.width % size.heads != 0) {
      throw OptionError("heads",
                        fmt::format("must divide width = {}, got {}", size.width, size.heads));
    }
    if (options.input_resolution < size.patch) {
      throw OptionError("input_resolution", fmt::format("must be at least patch_size = {}, got {}",
                                                        size.patch, options.input_resolution));
    }
    if (options.pyramid && !nn::TokenPyramid::supports(size.patch)) {
      throw OptionError("patch_size",
                        fmt::format("must be 8, 14, 16 or 32 for a pyramid, got {}; without: "
                                    "pyramid = false",
                                    size.patch));
    }
    const std::vector<std::int64_t> taps = options.taps();
    FeatureSpec spec;
    for (std::size_t k = 0; k < taps.size(); ++k) {
      if (taps[k] < 0 || taps[k] >= size.layers || (k > 0 && taps[k] < taps[k - 1])) {
        throw OptionError("out_indices", fmt::format("must not fall and lie from 0 to {}, got [{}]",
                                                     size.layers - 1, fmt::join(taps, ", ")));
      }
      spec.levels.push_back({std::to_string(k), size.width, size.patch});
    }
    if (options.pyramid) {
      if (taps.size() != nn::TokenPyramid::kStrides.size()) {
        throw OptionError("out_indices",
                          fmt::format("must be four for a pyramid, got {}", taps.size()));
      }
      for (std::size_t k = 0; k < taps.size(); ++k) {
        spec.levels[k].stride = nn::TokenPyramid::kStrides[k];
      }
    }
    if (options.get_embeddings) spec.extras = {{"global", size.out}, {"dense", size.out}};
    return spec;
  }

  /// [N, C, H, W] -> maps of tokens [N, width, h, w]; extras "global" [N, E], "dense" [N, E, h, w];
  /// h = ceil(H / patch), w = ceil(W / patch)
  Features trunk(const at::Tensor& images) override {
    const at::Tensor patches = conv1_->forward(nn::whole_patches(images, size_.patch));
    const std::int64_t h = patches.size(2), w = patches.size(3);
    at::Tensor x = nn::tokens_of(patches).flatten(1, 2);
    const at::Tensor own = options_.double_cls_embed ? class_embedding_ * 2 : class_embedding_;
    x = at::cat({own.expand({x.size(0), 1, size_.width}), x}, 1) +
        nn::resize_position_embedding(positional_embedding_, 1, h, w, nn::PositionResize::bilinear);
    x = ln_pre_->forward(x);
    const auto map_of_places = [&](const at::Tensor& tokens) {
      return nn::map_of(tokens.narrow(1, 1, h * w).unflatten(1, {h, w}));
    };
    Features features;
    const std::int64_t blocks = options_.get_embeddings ? size_.layers : taps_.back() + 1;
    for (std::int64_t i = 0; i < blocks; ++i) {
      x = block(i).forward(x);
      for (const std::int64_t tap : taps_) {
        if (tap == i) features.levels.push_back(map_of_places(x));
      }
    }
    if (options_.get_embeddings) {
      const at::Tensor tokens = at::matmul(ln_post_->forward(x), proj_);
      features.extras["global"] = tokens.select(1, 0);
      features.extras["dense"] = map_of_places(tokens);
    }
    return features;
  }

  /// levels [N, width, ceil(height / stride), ceil(width / stride)]
  Features finish(Features trunk, std::int64_t height, std::int64_t width) override {
    if (options_.pyramid) trunk.levels = pyramid_.forward(trunk.levels, height, width);
    return trunk;
  }

  std::vector<std::string> new_parts() const override {
    std::vector<std::string> parts;
    for (std::size_t k = 1; options_.pyramid && k <= nn::TokenPyramid::kStrides.size(); ++k) {
      parts.push_back("fpn" + std::to_string(k));
    }
    return parts;
  }

  /// What comes before the blocks, every block, what comes behind.
  Layers layers() const override {
    Layers layers{{"class_embedding", "positional_embedding", "conv1", "ln_pre"}};
    for (std::int64_t i = 0; i < size_.layers; ++i) {
      layers.push_back({"transformer.resblocks." + std::to_string(i)});
    }
    layers.push_back({"ln_post", "proj"});
    for (std::string& part : new_parts()) layers.back().push_back(std::move(part));
    return layers;
  }

  at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                          const at::Tensor& loaded) const override {
    if (name != "positional_embedding") return {};
    return nn::adapt_position_embedding(loaded, own, 1, nn::PositionResize::bilinear);
  }

  /// No archive of CLIP has a pyramid.
  bool may_be_missing(const std::string& name) const override { return name.starts_with("fpn"); }

 private:
  nn::ClipBlock& block(std::int64_t i) const {
    return (*transformer_)[static_cast<std::size_t>(i)];
  }

  ClipVitOptions options_;
  ClipVitSize size_;
  std::vector<std::int64_t> taps_;
  at::Tensor class_embedding_, positional_embedding_, proj_;
  torch::nn::Conv2d conv1_{nullptr};
  torch::nn::LayerNorm ln_pre_{nullptr}, ln_post_{nullptr};
  std::shared_ptr<nn::ClipTransformer> transformer_;
  nn::TokenPyramid pyramid_;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_clip_vit) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, CLIPVisionTransformer, ClipVitOptions>(
      "CLIPVisionTransformer", "image tower of CLIP, ViT-B/32, B/16 or L/14, with a pyramid");
}
