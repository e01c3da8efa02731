// EfficientNet (Tan and Le, ICML 2019) as a feature extractor, with the parameter names, static
// padding and taps of segmentation_models_pytorch's `efficientnet-b0` … `b7` (lukemelas layout).
#include <ATen/ops/constant_pad_nd.h>

#include <array>
#include <cmath>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/io/adapts_weights.hpp"
#include "framework/nn/activation.hpp"
#include "framework/nn/conv_module.hpp"
#include "framework/nn/drop_path.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/squeeze_excite.hpp"

namespace strata::backbones {
namespace {

struct EfficientNetOptions {
  std::string variant = "b0";
  std::vector<std::int64_t> out_indices = {0, 1, 2, 3};
  double drop_connect = 0.2;
  bool keep_head = false;
  nn::NormOptions norm{.eps = 1e-3, .momentum = 0.01};
  bool norm_eval = false;

  static auto fields() {
    using config::field;
    using O = EfficientNetOptions;
    return std::tuple{
        field("variant", &O::variant, "size, from b0 to b7")
            .one_of({"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"}),
        field("out_indices", &O::out_indices,
              "levels to give: 0 to 3 at strides 4 to 32, -1 is the stem (stride 2)")
            .not_empty(),
        field("drop_connect", &O::drop_connect,
              "probability of dropping the last block's branch, growing linearly from 0")
            .at_least(0)
            .below(1),
        field("keep_head", &O::keep_head,
              "hold _conv_head and _bn1, which no feature depends on, so that checkpoints that "
              "have them load and save unchanged; they are not trained"),
        field("norm", &O::norm, "normalisation layers"),
        field("norm_eval", &O::norm_eval, "keep batch norm statistics fixed while training")};
  }
};

/// One row a variant (Tan and Le, table 8 and the reference code).
struct EfficientNetSize {
  const char* name;
  double width, depth;
  std::int64_t resolution;           // of training; the static padding is computed for it
  std::array<std::int64_t, 4> taps;  // blocks whose outputs are the levels
};

// b0's third tap is the first block of its stage, where the others tap the last one. That is how
// the reference's weights have been fine-tuned, so it stays.
constexpr EfficientNetSize kEfficientNetSizes[] = {
    {"b0", 1.0, 1.0, 224, {2, 4, 8, 15}},   {"b1", 1.0, 1.1, 240, {4, 7, 15, 22}},
    {"b2", 1.1, 1.2, 260, {4, 7, 15, 22}},  {"b3", 1.2, 1.4, 300, {4, 7, 17, 25}},
    {"b4", 1.4, 1.8, 380, {5, 9, 21, 31}},  {"b5", 1.6, 2.2, 456, {7, 12, 26, 38}},
    {"b6", 1.8, 2.6, 528, {8, 14, 30, 44}}, {"b7", 2.0, 3.1, 600, {10, 17, 37, 54}}};

struct StageRow {
  std::int64_t repeats, kernel, stride, expand, out;
};
constexpr StageRow kEfficientNetStages[] = {{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40},
                                            {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192},
                                            {1, 3, 1, 6, 320}};
constexpr std::int64_t kEfficientNetStem = 32;
constexpr std::int64_t kEfficientNetHead = 1280;

/// Channels scaled by the width, rounded to a multiple of 8, never by more than a tenth down.
std::int64_t scaled_channels(std::int64_t channels, double width) {
  const double wanted_channels = static_cast<double>(channels) * width;
  auto rounded = std::max<std::int64_t>(8, static_cast<std::int64_t>(wanted_channels + 4) / 8 * 8);
  if (static_cast<double>(rounded) < 0.9 * wanted_channels) rounded += 8;
  return rounded;
}

/// Zeros before and after each row and column.
struct Padding {
  std::int64_t before = 0, after = 0;
};

/// TensorFlow's "same" padding of an input of `size`, which becomes ceil(size / stride).
Padding same_padding(std::int64_t& size, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t out = (size + stride - 1) / stride;
  const std::int64_t total = std::max<std::int64_t>((out - 1) * stride + kernel - size, 0);
  size = out;
  return {total / 2, total - total / 2};
}

struct BlockPlan {
  std::int64_t in, out, kernel, stride, expand;
  Padding padding;
};

struct EfficientNetPlan {
  const EfficientNetSize* size;
  std::int64_t stem;
  Padding stem_padding;
  std::vector<BlockPlan> blocks;
};

EfficientNetPlan efficientnet_plan(const EfficientNetOptions& options) {
  const auto* size = std::begin(kEfficientNetSizes);
  while (options.variant != size->name) ++size;
  EfficientNetPlan plan{size, scaled_channels(kEfficientNetStem, size->width), {}, {}};
  std::int64_t resolution = size->resolution;
  plan.stem_padding = same_padding(resolution, 3, 2);
  std::int64_t channels = plan.stem;
  for (const StageRow& row : kEfficientNetStages) {
    const auto repeats =
        static_cast<std::int64_t>(std::ceil(size->depth * static_cast<double>(row.repeats)));
    const std::int64_t out = scaled_channels(row.out, size->width);
    for (std::int64_t k = 0; k < repeats; ++k) {
      const std::int64_t stride = k == 0 ? row.stride : 1;
      const Padding padding = same_padding(resolution, row.kernel, stride);
      plan.blocks.push_back({channels, out, row.kernel, stride, row.expand, padding});
      channels = out;
    }
  }
  return plan;
}

/// A convolution with static padding. An even padding is the convolution's own; an uneven one is
/// written out in front of it.
class PaddedConv {
 public:
  PaddedConv() = default;
  PaddedConv(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
             std::int64_t groups, Padding padding)
      : uneven_(padding.before != padding.after), padding_(padding) {
    conv =
        nn::conv2d(in, out, kernel,
                   {.stride = stride, .padding = uneven_ ? 0 : padding.before, .groups = groups});
  }
  at::Tensor padded(const at::Tensor& x) const {
    if (!uneven_) return x;
    const auto [before, after] = padding_;
    return at::constant_pad_nd(x, {before, after, before, after}, 0);
  }
  torch::nn::Conv2d conv{nullptr};

 private:
  bool uneven_ = false;
  Padding padding_;
};

/// Mobile inverted bottleneck: expand, depthwise, squeeze-and-excite, project, add.
class MbConv final : public torch::nn::Module {
 public:
  MbConv(const BlockPlan& plan, double drop, const nn::NormOptions& norm) {
    const std::int64_t hidden = plan.in * plan.expand;
    const std::int64_t squeezed = std::max<std::int64_t>(1, plan.in / 4);
    if (plan.expand != 1) {
      expand_ = register_module("_expand_conv", nn::conv2d(plan.in, hidden, 1));
      add_norm("_bn0", norm0_, hidden, norm);
    }
    depthwise_ = PaddedConv(hidden, hidden, plan.kernel, plan.stride, hidden, plan.padding);
    register_module("_depthwise_conv", depthwise_.conv);
    add_norm("_bn1", norm1_, hidden, norm);
    reduce_ = register_module("_se_reduce", nn::conv2d(hidden, squeezed, 1, {.bias = true}));
    excite_ = register_module("_se_expand", nn::conv2d(squeezed, hidden, 1, {.bias = true}));
    project_ = register_module("_project_conv", nn::conv2d(hidden, plan.out, 1));
    add_norm("_bn2", norm2_, plan.out, norm);
    if (plan.stride == 1 && plan.in == plan.out) {
      drop_path_ = register_module("_drop_connect", std::make_shared<nn::DropPath>(drop));
    }
  }

  at::Tensor forward(const at::Tensor& input) const {
    const auto silu = nn::Activation::silu();
    at::Tensor x = input;
    if (expand_) x = nn::conv_norm_act(expand_, norm0_, silu, x);
    x = nn::conv_norm_act(depthwise_.conv, norm1_, silu, depthwise_.padded(x));
    x = nn::squeeze_excite(x, reduce_, excite_, silu);
    x = nn::conv_norm_act(project_, norm2_, nn::Activation::none(), x);
    return drop_path_ ? drop_path_->forward(x).add_(input) : x;
  }

 private:
  void add_norm(const char* name, nn::Norm& layer, std::int64_t channels,
                const nn::NormOptions& norm) {
    layer = nn::Norm(channels, norm);
    if (layer) register_module(name, layer.module());
  }

  torch::nn::Conv2d expand_{nullptr}, reduce_{nullptr}, excite_{nullptr}, project_{nullptr};
  PaddedConv depthwise_;
  nn::Norm norm0_, norm1_, norm2_;
  std::shared_ptr<nn::DropPath> drop_path_;
};

class EfficientNet final : public Backbone, public io::AdaptsWeights {
 public:
  EfficientNet(const EfficientNetOptions& options, const Context& context) : options_(options) {
    output(options, context.input);  // checks out_indices
    const EfficientNetPlan plan = efficientnet_plan(options);
    taps_ = plan.size->taps;
    stem_ = PaddedConv(image_channels(context.input), plan.stem, 3, 2, 1, plan.stem_padding);
    register_module("_conv_stem", stem_.conv);
    norm0_ = nn::Norm(plan.stem, options.norm);
    if (norm0_) register_module("_bn0", norm0_.module());
    const std::int64_t last = options.out_indices.back();
    used_blocks_ =
        last < 0 ? 0 : static_cast<std::size_t>(taps_[static_cast<std::size_t>(last)]) + 1;
    for (std::size_t i = 0; i < plan.blocks.size(); ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(plan.blocks.size());
      MbConv& block = blocks_->add(
          std::make_shared<MbConv>(plan.blocks[i], options.drop_connect * share, options.norm));
      if (i >= used_blocks_) nn::set_unused(block);
    }
    register_module("_blocks", blocks_);
    if (!options.keep_head) return;
    const std::int64_t head = scaled_channels(kEfficientNetHead, plan.size->width);
    auto conv = register_module("_conv_head", nn::conv2d(plan.blocks.back().out, head, 1));
    nn::set_unused(*conv);
    const nn::Norm norm(head, options.norm);
    if (!norm) return;
    register_module("_bn1", norm.module());
    nn::set_unused(*norm.module());
  }

  static FeatureSpec output(const EfficientNetOptions& options, const FeatureSpec&) {
    const EfficientNetPlan plan = efficientnet_plan(options);
    std::vector<FeatureLevel> all{{"stem", plan.stem, 2}};
    for (std::size_t i = 0; i < plan.size->taps.size(); ++i) {
      const auto& block = plan.blocks[static_cast<std::size_t>(plan.size->taps[i])];
      all.push_back({std::to_string(i), block.out, std::int64_t{4} << i});
    }
    FeatureSpec spec;
    spec.levels = select_levels(all, options.out_indices);
    return spec;
  }

  /// [N, C, H, W] -> levels [N, c, H / stride, W / stride]; of odd sizes the static padding makes
  /// floor or ceil, as it does in the reference.
  Features forward(const at::Tensor& images) override {
    Features features;
    at::Tensor x =
        nn::conv_norm_act(stem_.conv, norm0_, nn::Activation::silu(), stem_.padded(images));
    if (wanted(options_.out_indices, -1)) features.levels.push_back(x);
    std::int64_t level = 0;
    for (std::size_t i = 0; i < used_blocks_; ++i) {
      x = (*blocks_)[i]->forward(x);
      if (static_cast<std::int64_t>(i) != taps_[static_cast<std::size_t>(level)]) continue;
      if (wanted(options_.out_indices, level)) features.levels.push_back(x);
      ++level;
    }
    return features;
  }

  /// The stem, every block, and the head, which no loss reaches.
  Layers layers() const override {
    Layers layers{{"_conv_stem"}};
    if (norm0_) layers[0].push_back("_bn0");
    append_children(layers, "_blocks", *blocks_);
    if (options_.keep_head) layers.push_back({"_conv_head", "_bn1"});
    return layers;
  }

  /// The head of a classifier, which other libraries' encoders and layouts leave out.
  bool may_be_missing(const std::string& name) const override {
    return name.starts_with("_conv_head.") || name.starts_with("_bn1.");
  }

  void train(bool on = true) override {
    Backbone::train(on);
    if (options_.norm_eval) nn::fix_batch_norm_statistics(*this);
  }

 private:
  EfficientNetOptions options_;
  PaddedConv stem_;
  nn::Norm norm0_;
  std::shared_ptr<nn::LayerList<MbConv>> blocks_ = std::make_shared<nn::LayerList<MbConv>>();
  std::array<std::int64_t, 4> taps_{};
  std::size_t used_blocks_ = 0;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_efficientnet) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, EfficientNet, EfficientNetOptions>(
      "EfficientNet", "mobile inverted bottlenecks scaled in width, depth and resolution");
}
