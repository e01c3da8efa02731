// ResNet (He et al., CVPR 2016), its variants V1c and V1d (He et al., CVPR 2019) and ResNeXt (Xie
// et al., CVPR 2017), dilated on request. Names of options and parameters as in MMSegmentation.
#include <ATen/ops/max_pool2d.h>

#include <map>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/residual.hpp"

namespace strata::backbones {
namespace {

using Ints = std::vector<std::int64_t>;

struct ResNetOptions {
  std::int64_t depth = 50;
  std::int64_t base_channels = 64;
  std::optional<std::int64_t> stem_channels;
  Ints out_indices = {0, 1, 2, 3};
  std::optional<std::int64_t> output_stride;
  std::optional<Ints> strides;
  std::optional<Ints> dilations;
  bool contract_dilation = false;
  std::optional<Ints> multi_grid;
  std::string style = "pytorch";
  std::int64_t groups = 1;
  std::int64_t base_width = 64;
  bool zero_init_residual = true;
  nn::NormOptions norm;
  bool norm_eval = false;

  static auto fields() {
    using config::field;
    using O = ResNetOptions;
    return std::tuple{
        field("depth", &O::depth, "layers: 18, 34, 50, 101 or 152"),
        field("base_channels", &O::base_channels,
              "planes of the first stage; each later one has twice as many")
            .at_least(1),
        field("stem_channels", &O::stem_channels, "channels of the stem, base_channels if left out")
            .at_least(2),
        field("out_indices", &O::out_indices,
              "levels to give: 0 to 3 are the stages, -1 is the stem (stride 2)")
            .not_empty(),
        field("output_stride", &O::output_stride,
              "32, 16 or 8: stride of the last stage; later strides become dilations"),
        field("strides", &O::strides, "stride of each stage, [1, 2, 2, 2] if left out").size(4),
        field("dilations", &O::dilations, "dilation of each stage, [1, 1, 1, 1] if left out")
            .size(4),
        field("contract_dilation", &O::contract_dilation,
              "halve the dilation of the first block of a dilated stage"),
        field("multi_grid", &O::multi_grid, "dilation of each block of the last stage"),
        field("style", &O::style, "layer of a bottleneck that strides: the 3x3, or the first 1x1")
            .one_of({"pytorch", "caffe"}),
        field("groups", &O::groups, "groups of a bottleneck's 3x3 (ResNeXt)").at_least(1),
        field("base_width", &O::base_width, "channels of a group at 64 planes (ResNeXt)")
            .at_least(1),
        field("zero_init_residual", &O::zero_init_residual,
              "start every block as the identity: its last norm scales by 0"),
        field("norm", &O::norm, "normalisation layers"),
        field("norm_eval", &O::norm_eval, "keep batch norm statistics fixed while training")};
  }
};

struct ResNeXtOptions : ResNetOptions {
  ResNeXtOptions() {
    groups = 32;
    base_width = 4;
  }
  static auto fields() { return ResNetOptions::fields(); }
};

enum class ResNetVariant { b, c, d };

constexpr std::int64_t kPaperPlanes = 64;  // what base_width refers to

struct ResNetPlan {
  bool bottleneck = true;
  Ints blocks, strides, dilations;
  std::int64_t stem = 0;
  Ints planes;
};

Ints written_or(const std::optional<Ints>& written, const char* key, Ints fallback) {
  if (!written) return fallback;
  for (const std::int64_t value : *written) {
    if (value < 1) {
      throw OptionError(key, "must be at least 1, got " + std::to_string(value));
    }
  }
  return *written;
}

ResNetPlan resnet_plan(const ResNetOptions& options) {
  static const std::map<std::int64_t, std::pair<bool, Ints>> kDepths = {
      {18, {false, {2, 2, 2, 2}}},
      {34, {false, {3, 4, 6, 3}}},
      {50, {true, {3, 4, 6, 3}}},
      {101, {true, {3, 4, 23, 3}}},
      {152, {true, {3, 8, 36, 3}}}};
  const auto found = kDepths.find(options.depth);
  if (found == kDepths.end()) {
    throw OptionError("depth",
                      "must be 18, 34, 50, 101 or 152, got " + std::to_string(options.depth));
  }
  ResNetPlan plan{.bottleneck = found->second.first,
                  .blocks = found->second.second,
                  .strides = {1, 2, 2, 2},
                  .dilations = {1, 1, 1, 1},
                  .stem = options.stem_channels.value_or(options.base_channels),
                  .planes = {}};
  for (int i = 0; i < 4; ++i) plan.planes.push_back(options.base_channels << i);
  if (options.output_stride) {
    if (options.strides || options.dilations) {
      throw OptionError("output_stride", "cannot be combined with strides or dilations");
    }
    switch (*options.output_stride) {
      case 32:
        break;
      case 16:
        plan.strides = {1, 2, 2, 1}, plan.dilations = {1, 1, 1, 2};
        break;
      case 8:
        plan.strides = {1, 2, 1, 1}, plan.dilations = {1, 1, 2, 4};
        break;
      default:
        throw OptionError("output_stride",
                          "must be 32, 16 or 8, got " + std::to_string(*options.output_stride));
    }
  }
  plan.strides = written_or(options.strides, "strides", plan.strides);
  plan.dilations = written_or(options.dilations, "dilations", plan.dilations);
  if (!plan.bottleneck && (options.groups != 1 || options.base_width != 64)) {
    throw OptionError(options.groups != 1 ? "groups" : "base_width",
                      "needs bottleneck blocks; depth " + std::to_string(options.depth) +
                          " has none, use 50, 101 or 152");
  }
  if (options.multi_grid &&
      static_cast<std::int64_t>(options.multi_grid->size()) != plan.blocks.back()) {
    throw OptionError("multi_grid", "must have one dilation for each of the " +
                                        std::to_string(plan.blocks.back()) +
                                        " blocks of the last stage, got " +
                                        std::to_string(options.multi_grid->size()));
  }
  written_or(options.multi_grid, "multi_grid", {});
  return plan;
}

class ResNet : public Backbone {
 public:
  ResNet(const ResNetOptions& options, const Context& context)
      : ResNet(options, context, ResNetVariant::b) {}

  static FeatureSpec output(const ResNetOptions& options, const FeatureSpec&) {
    const ResNetPlan plan = resnet_plan(options);
    std::vector<FeatureLevel> all{{"stem", plan.stem, 2}};
    std::int64_t stride = 4;
    for (std::size_t i = 0; i < 4; ++i) {
      stride *= plan.strides[i];
      const std::int64_t planes = plan.planes[i];
      all.push_back({std::to_string(i), plan.bottleneck ? 4 * planes : planes, stride});
    }
    FeatureSpec spec;
    spec.levels = select_levels(all, options.out_indices);
    return spec;
  }

  /// [N, C, H, W] -> levels [N, c, ceil(H / stride), ceil(W / stride)]
  Features forward(const at::Tensor& images) override {
    Features features;
    at::Tensor x = images;
    if (stem_) {
      x = stem_->forward(x);
    } else {
      x = nn::conv_norm_act(conv1_, norm1_, nn::Activation::relu(), x);
    }
    if (wanted(options_.out_indices, -1)) features.levels.push_back(x);
    x = at::max_pool2d(x, 3, 2, 1);
    for (std::int64_t i = 0; i <= options_.out_indices.back(); ++i) {
      x = stages_[static_cast<std::size_t>(i)]->forward(x);
      if (wanted(options_.out_indices, i)) features.levels.push_back(x);
    }
    return features;
  }

  /// The stem, then every block.
  Layers layers() const override {
    Layers layers{{stem_ ? "stem" : "conv1"}};
    if (!stem_ && norm1_) layers[0].push_back(norm1_.short_name() + std::string("1"));
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      append_children(layers, "layer" + std::to_string(i + 1), *stages_[i]);
    }
    return layers;
  }

  void train(bool on = true) override {
    Backbone::train(on);
    if (options_.norm_eval) nn::fix_batch_norm_statistics(*this);
  }

 protected:
  ResNet(const ResNetOptions& options, const Context& context, ResNetVariant variant)
      : options_(options) {
    const ResNetPlan plan = resnet_plan(options);
    output(options, context.input);  // checks out_indices
    make_stem(image_channels(context.input), plan.stem, variant != ResNetVariant::b);
    std::int64_t channels = plan.stem;
    for (std::size_t i = 0; i < 4; ++i) {
      auto stage = std::make_shared<nn::LayerList<nn::ResidualBlock>>();
      for (std::int64_t k = 0; k < plan.blocks[i]; ++k) {
        const bool first = k == 0;
        const std::int64_t planes = plan.planes[i];
        std::int64_t dilation = plan.dilations[i];
        if (first && options.contract_dilation && dilation > 1) dilation /= 2;
        if (i == 3 && options.multi_grid) {
          dilation = (*options.multi_grid)[static_cast<std::size_t>(k)];
        }
        const nn::ResidualOptions block{
            .in_channels = channels,
            .planes = planes,
            .stride = first ? plan.strides[i] : 1,
            .dilation = dilation,
            .groups = options.groups,
            .width = planes * options.base_width / kPaperPlanes * options.groups,
            .stride_first = options.style == "caffe",
            .avg_down = variant == ResNetVariant::d,
            .zero_init = options.zero_init_residual,
            .norm = options.norm};
        if (plan.bottleneck) {
          stage->add(std::make_shared<nn::Bottleneck>(block));
        } else {
          stage->add(std::make_shared<nn::BasicBlock>(block));
        }
        channels = plan.bottleneck ? 4 * planes : planes;
      }
      register_module("layer" + std::to_string(i + 1), stage);
      if (static_cast<std::int64_t>(i) > options.out_indices.back()) nn::set_unused(*stage);
      stages_.push_back(std::move(stage));
    }
  }

 private:
  /// The convolutions of a deep stem: children 0, 1, 3, 4, 6, 7 (2, 5 and 8 are activations).
  struct DeepStem final : torch::nn::Module {
    DeepStem(std::int64_t in_channels, std::int64_t channels, const nn::NormOptions& norm) {
      const std::int64_t half = channels / 2;
      add(in_channels, half, 2, norm);
      add(half, half, 1, norm);
      add(half, channels, 1, norm);
    }
    void add(std::int64_t in, std::int64_t out, std::int64_t stride, const nn::NormOptions& norm) {
      auto conv = nn::conv2d(in, out, 3, {.stride = stride, .padding = 1});
      nn::kaiming_normal_(conv->weight);
      const int first = 3 * static_cast<int>(layers.size());
      register_module(std::to_string(first), conv);
      nn::Norm layer(out, norm);
      if (layer) register_module(std::to_string(first + 1), layer.module());
      layers.emplace_back(conv, layer);
    }
    at::Tensor forward(at::Tensor x) const {
      for (const auto& [conv, norm] : layers) {
        x = nn::conv_norm_act(conv, norm, nn::Activation::relu(), x);
      }
      return x;
    }
    std::vector<std::pair<torch::nn::Conv2d, nn::Norm>> layers;
  };

  void make_stem(std::int64_t in_channels, std::int64_t channels, bool deep) {
    if (deep) {
      stem_ = register_module("stem", std::make_shared<DeepStem>(in_channels, channels, options_.norm));
      return;
    }
    conv1_ = register_module("conv1",
                             nn::conv2d(in_channels, channels, 7, {.stride = 2, .padding = 3}));
    nn::kaiming_normal_(conv1_->weight);
    norm1_ = nn::Norm(channels, options_.norm);
    if (norm1_) register_module(norm1_.short_name() + std::string("1"), norm1_.module());
  }

  ResNetOptions options_;
  torch::nn::Conv2d conv1_{nullptr};
  nn::Norm norm1_;
  std::shared_ptr<DeepStem> stem_;
  std::vector<std::shared_ptr<nn::LayerList<nn::ResidualBlock>>> stages_;
};

class ResNetV1c final : public ResNet {
 public:
  ResNetV1c(const ResNetOptions& options, const Context& context)
      : ResNet(options, context, ResNetVariant::c) {}
};

class ResNetV1d final : public ResNet {
 public:
  ResNetV1d(const ResNetOptions& options, const Context& context)
      : ResNet(options, context, ResNetVariant::d) {}
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_resnet) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, ResNet, ResNetOptions>("ResNet", "residual network");
  registry.add<strata::Backbone, ResNetV1c, ResNetOptions>(
      "ResNetV1c", "residual network with three 3x3 convolutions as its stem");
  registry.add<strata::Backbone, ResNetV1d, ResNetOptions>(
      "ResNetV1d", "as ResNetV1c, pooling before the shortcut's 1x1 where it strides");
  registry.add<strata::Backbone, ResNet, ResNeXtOptions>(
      "ResNeXt", "residual network of grouped bottlenecks, 32 groups of 4 channels");
}
