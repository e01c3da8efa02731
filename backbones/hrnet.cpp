// HRNet (Sun et al., CVPR 2019; Wang et al., TPAMI 2020): branches at strides 4, 8, 16, 32 side by
// side, fused again and again. Parameter names of the original, timm and MMSegmentation (the same).
#include <ATen/ops/cat.h>

#include <algorithm>
#include <map>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/residual.hpp"
#include "framework/nn/resize.hpp"

namespace strata::backbones {
namespace {

struct HrNetOptions {
  std::optional<std::int64_t> width;
  std::optional<std::string> variant;
  std::vector<std::int64_t> out_indices = {0, 1, 2, 3};
  std::string out = "levels";
  std::string fuse_upsample = "bilinear";
  bool align_corners = false;
  bool zero_init_residual = false;
  nn::NormOptions norm;
  bool norm_eval = false;

  static auto fields() {
    using config::field;
    using O = HrNetOptions;
    return std::tuple{
        field("width", &O::width,
              "channels of the finest branch: 18 (if left out), 30, 32, 40, 44, 48 or 64"),
        field("variant", &O::variant,
              "instead of width: w18 … w64, or a small one: w18_small (also w18_small_v1), "
              "w18_small_v2 (also hr18s)")
            .one_of({"w18", "w30", "w32", "w40", "w44", "w48", "w64", "w18_small", "w18_small_v1",
                     "w18_small_v2", "hr18s"}),
        field("out_indices", &O::out_indices,
              "branches to give: 0 to 3, and -1 for the first convolution (stride 2)")
            .not_empty(),
        field("out", &O::out, "the levels as they are, or resized to the finest and concatenated")
            .one_of({"levels", "concat"}),
        field("fuse_upsample", &O::fuse_upsample,
              "how coarse branches grow: bilinear (segmentation), nearest (ImageNet, timm)")
            .one_of({"bilinear", "nearest"}),
        field("align_corners", &O::align_corners, "of bilinear growing and of out = \"concat\""),
        field("zero_init_residual", &O::zero_init_residual,
              "start every block as the identity: its last norm scales by 0"),
        field("norm", &O::norm, "normalisation layers"),
        field("norm_eval", &O::norm_eval, "keep batch norm statistics fixed while training")};
  }
};

constexpr std::int64_t kHrNetStem = 64;

/// How often things repeat; index 0 is stage 2.
struct HrNetPlan {
  std::int64_t width, stem_planes, stem_blocks, blocks;
  std::array<std::int64_t, 3> modules;
  std::int64_t channels(std::size_t branch) const { return width << branch; }
};

HrNetPlan hrnet_plan(const HrNetOptions& options) {
  if (options.width && options.variant) {
    throw OptionError("variant", "cannot be combined with width");
  }
  const std::string variant = options.variant.value_or("");
  if (variant == "w18_small" || variant == "w18_small_v1") return {16, 32, 1, 2, {1, 1, 1}};
  if (variant == "w18_small_v2" || variant == "hr18s") return {18, 64, 2, 2, {1, 3, 2}};
  const std::int64_t width =
      options.variant ? std::stoll(variant.substr(1)) : options.width.value_or(18);
  for (const std::int64_t known : {18, 30, 32, 40, 44, 48, 64}) {
    if (width == known) return {width, 64, 4, 4, {1, 4, 3}};
  }
  throw OptionError("width", "must be 18, 30, 32, 40, 44, 48 or 64, got " + std::to_string(width));
}

using ConvNorms = nn::LayerList<nn::ConvNorm>;
using Levels = std::vector<at::Tensor>;

std::shared_ptr<nn::ConvNorm> step3x3(std::int64_t in, std::int64_t out, std::int64_t stride,
                                      bool relu, const nn::NormOptions& norm) {
  return std::make_shared<nn::ConvNorm>(nn::conv2d(in, out, 3, {.stride = stride, .padding = 1}),
                                        norm,
                                        relu ? nn::Activation::relu() : nn::Activation::none());
}

/// Runs every branch and sums them into each other.
class HrModule final : public torch::nn::Module {
 public:
  /// `rows`: which outputs anybody uses.
  HrModule(const HrNetPlan& plan, std::size_t branches, std::vector<bool> rows,
           const HrNetOptions& options)
      : mode_(options.fuse_upsample == "nearest" ? nn::ResizeMode::nearest
                                                 : nn::ResizeMode::bilinear),
        align_corners_(options.align_corners),
        rows_(std::move(rows)) {
    auto list = std::make_shared<nn::LayerList<nn::LayerList<nn::ResidualBlock>>>();
    for (std::size_t b = 0; b < branches; ++b) {
      auto blocks = std::make_shared<nn::LayerList<nn::ResidualBlock>>();
      for (std::int64_t k = 0; k < plan.blocks; ++k) {
        blocks->add(std::make_shared<nn::BasicBlock>(
            nn::ResidualOptions{.in_channels = plan.channels(b),
                                .planes = plan.channels(b),
                                .zero_init = options.zero_init_residual,
                                .norm = options.norm}));
      }
      list->add(std::move(blocks));
    }
    branches_ = register_module("branches", std::move(list));
    fuse_ = register_module("fuse_layers", std::make_shared<nn::LayerList<torch::nn::Module>>());
    for (std::size_t i = 0; i < branches; ++i) add_row(plan, i, branches, options.norm);
  }

  /// One tensor a branch in, one out, of the same shapes; undefined where no one uses it.
  Levels forward(Levels x) const {
    for (std::size_t b = 0; b < x.size(); ++b) x[b] = (*branches_)[b]->forward(x[b]);
    Levels y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (rows_[i]) y[i] = fuse(x, i);
    }
    return y;
  }

 private:
  void add_row(const HrNetPlan& plan, std::size_t i, std::size_t branches,
               const nn::NormOptions& norm) {
    auto row = std::make_shared<nn::LayerList<torch::nn::Module>>();
    down_.emplace_back(branches);
    up_.emplace_back(branches);
    for (std::size_t j = 0; j < branches; ++j) {
      if (j == i) {
        row->skip();
      } else if (j > i) {
        up_[i][j] =
            std::make_shared<nn::ConvNorm>(nn::conv2d(plan.channels(j), plan.channels(i), 1), norm);
        row->add(up_[i][j]);
      } else {
        auto chain = std::make_shared<ConvNorms>();
        for (std::size_t k = j; k < i; ++k) {
          const bool last = k + 1 == i;
          chain->add(step3x3(plan.channels(j), plan.channels(last ? i : j), 2, !last, norm));
        }
        down_[i][j] = chain;
        row->add(std::move(chain));
      }
    }
    if (!rows_[i]) nn::set_unused(*row);
    fuse_->add(std::move(row));
  }

  /// relu(sum over j of branch j brought to the shape of branch i). What comes from coarser
  /// branches is a temporary and takes the sum in place; convolutions from finer ones add it as
  /// they go.
  at::Tensor fuse(const Levels& x, std::size_t i) const {
    at::Tensor sum = x[i];
    for (std::size_t j = i + 1; j < x.size(); ++j) {
      sum = grow(up_[i][j]->forward(x[j]), j - i, x[i]).add_(sum);
    }
    if (i == 0) return sum.relu_();
    for (std::size_t j = 0; j < i; ++j) {
      const ConvNorms& chain = *down_[i][j];
      at::Tensor y = x[j];
      for (std::size_t k = 0; k + 1 < chain.size(); ++k) y = chain[k]->forward(y);
      sum = chain[chain.size() - 1]->forward_add(y, sum, /*relu=*/j + 1 == i);
    }
    return sum;
  }

  /// Enlarges by 2^steps, then to the size of `like`: two interpolations where 32 does not divide
  /// the image, as in MMSegmentation. Only one with aligned corners (SenseEarth's HRNet) or
  /// nearest.
  at::Tensor grow(const at::Tensor& x, std::size_t steps, const at::Tensor& like) const {
    at::Tensor y = x;
    if (mode_ == nn::ResizeMode::bilinear && !align_corners_) {
      y = nn::resize(x, x.size(2) << steps, x.size(3) << steps);
    }
    return nn::resize_as(y, like, mode_, align_corners_);
  }

  nn::ResizeMode mode_;
  bool align_corners_;
  std::vector<bool> rows_;
  std::shared_ptr<nn::LayerList<nn::LayerList<nn::ResidualBlock>>> branches_;
  std::shared_ptr<nn::LayerList<torch::nn::Module>> fuse_;
  std::vector<std::vector<std::shared_ptr<nn::ConvNorm>>> up_;  // [i][j], j > i
  std::vector<std::vector<std::shared_ptr<ConvNorms>>> down_;   // [i][j], j < i
};

class HrNet final : public Backbone {
 public:
  HrNet(const HrNetOptions& options, const Context& context) : options_(options) {
    output(options, context.input);  // checks out_indices
    const HrNetPlan plan = hrnet_plan(options);
    const nn::NormOptions& norm = options.norm;
    add_stem(1, image_channels(context.input));
    add_stem(2, kHrNetStem);

    layer1_ = std::make_shared<nn::LayerList<nn::ResidualBlock>>();
    std::int64_t channels = kHrNetStem;
    for (std::int64_t k = 0; k < plan.stem_blocks; ++k) {
      layer1_->add(std::make_shared<nn::Bottleneck>(
          nn::ResidualOptions{.in_channels = channels,
                              .planes = plan.stem_planes,
                              .zero_init = options.zero_init_residual,
                              .norm = norm}));
      channels = plan.stem_planes * nn::Bottleneck::expansion;
    }
    register_module("layer1", layer1_);

    for (std::size_t s = 0; s < 3; ++s) {
      const std::size_t branches = s + 2;
      const std::string number = std::to_string(s + 1);
      auto transition = std::make_shared<nn::LayerList<torch::nn::Module>>();
      if (s == 0) {
        first_ = step3x3(channels, plan.channels(0), 1, true, norm);
        transition->add(first_);
      } else {
        for (std::size_t b = 0; b + 1 < branches; ++b) transition->skip();
      }
      auto chain = std::make_shared<ConvNorms>();
      chain->add(
          step3x3(s == 0 ? channels : plan.channels(s), plan.channels(s + 1), 2, true, norm));
      transition->add(chain);
      new_branch_.push_back(std::move(chain));
      register_module("transition" + number, std::move(transition));

      auto stage = std::make_shared<nn::LayerList<HrModule>>();
      for (std::int64_t m = 0; m < plan.modules[s]; ++m) {
        std::vector<bool> rows(branches, true);
        if (s == 2 && m + 1 == plan.modules[s]) {
          for (std::size_t b = 0; b < branches; ++b) {
            rows[b] = wanted(options.out_indices, static_cast<std::int64_t>(b));
          }
        }
        stage->add(std::make_shared<HrModule>(plan, branches, rows, options));
      }
      stages_.push_back(register_module("stage" + std::to_string(s + 2), std::move(stage)));
    }
  }

  static FeatureSpec output(const HrNetOptions& options, const FeatureSpec&) {
    const HrNetPlan plan = hrnet_plan(options);
    std::vector<FeatureLevel> all{{"stem", kHrNetStem, 2}};
    for (std::size_t b = 0; b < 4; ++b) {
      all.push_back({std::to_string(b), plan.channels(b), std::int64_t{4} << b});
    }
    FeatureSpec spec;
    spec.levels = select_levels(all, options.out_indices);
    if (options.out == "concat") {
      FeatureLevel joined{"concat", 0, spec.levels[0].stride};
      for (const FeatureLevel& level : spec.levels) joined.channels += level.channels;
      spec.levels = {joined};
    }
    return spec;
  }

  /// [N, C, H, W] -> levels [N, c, ceil(H / stride), ceil(W / stride)]
  Features forward(const at::Tensor& images) override {
    const auto relu = nn::Activation::relu();
    const at::Tensor stem = nn::conv_norm_act(conv_[0], norm_[0], relu, images);
    at::Tensor x = layer1_->forward(nn::conv_norm_act(conv_[1], norm_[1], relu, stem));
    Levels levels{first_->forward(x), new_branch_[0]->forward(x)};
    for (std::size_t s = 0; s < 3; ++s) {
      if (s > 0) levels.push_back(new_branch_[s]->forward(levels.back()));
      for (std::size_t m = 0; m < stages_[s]->size(); ++m) {
        levels = (*stages_[s])[m]->forward(std::move(levels));
      }
    }
    Features features;
    for (const std::int64_t index : options_.out_indices) {
      features.levels.push_back(index < 0 ? stem : levels[static_cast<std::size_t>(index)]);
    }
    if (options_.out == "concat") {
      for (at::Tensor& level : features.levels) {
        level = nn::resize_as(level, features.levels[0], nn::ResizeMode::bilinear,
                              options_.align_corners);
      }
      features.levels = {at::cat(features.levels, 1)};
    }
    return features;
  }

  /// The stem, every block of layer1, then each transition and each module of the stages.
  Layers layers() const override {
    Layers layers{{"conv1", "conv2"}};
    for (const int number : {1, 2}) {
      const nn::Norm& norm = norm_[static_cast<std::size_t>(number - 1)];
      if (norm) layers[0].push_back(norm.short_name() + std::to_string(number));
    }
    append_children(layers, "layer1", *layer1_);
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      layers.push_back({"transition" + std::to_string(s + 1)});
      append_children(layers, "stage" + std::to_string(s + 2), *stages_[s]);
    }
    return layers;
  }

  void train(bool on = true) override {
    Backbone::train(on);
    if (options_.norm_eval) nn::fix_batch_norm_statistics(*this);
  }

 private:
  void add_stem(int number, std::int64_t in_channels) {
    auto conv = nn::conv2d(in_channels, kHrNetStem, 3, {.stride = 2, .padding = 1});
    nn::kaiming_normal_(conv->weight);
    conv_.push_back(register_module("conv" + std::to_string(number), conv));
    norm_.emplace_back(kHrNetStem, options_.norm);
    if (!norm_.back()) return;
    register_module(norm_.back().short_name() + std::to_string(number), norm_.back().module());
  }

  HrNetOptions options_;
  std::vector<torch::nn::Conv2d> conv_;  // the two of the stem
  std::vector<nn::Norm> norm_;
  std::shared_ptr<nn::LayerList<nn::ResidualBlock>> layer1_;
  std::shared_ptr<nn::ConvNorm> first_;                 // transition1.0
  std::vector<std::shared_ptr<ConvNorms>> new_branch_;  // transition{s}.{s}
  std::vector<std::shared_ptr<nn::LayerList<HrModule>>> stages_;
};

}  // namespace
}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_hrnet) {
  using namespace strata::backbones;
  registry.add<strata::Backbone, HrNet, HrNetOptions>("HRNet", "high-resolution network");
}
