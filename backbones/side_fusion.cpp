// Side fusion (VLCD, Qiu et al., JSTARS 2025): a frozen foundation model, a network trained at its
// side, and a bridge between the two at every level.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backbones/backbone.hpp"
#include "backbones/levels.hpp"
#include "framework/model/device_values.hpp"
#include "framework/nn/autocast.hpp"
#include "framework/nn/fold_cache.hpp"
#include "framework/nn/layers.hpp"
#include "modules/bridge.hpp"

namespace strata::backbones {

namespace {

// On the scale 0 to 255.
constexpr std::array<double, 3> kImageNetMean = {123.675, 116.28, 103.53};
constexpr std::array<double, 3> kImageNetStd = {58.395, 57.12, 57.375};
constexpr std::array<double, 3> kClipMean = {122.7709383, 116.7460125, 104.09373615};
constexpr std::array<double, 3> kClipStd = {68.5005327, 66.6321579, 70.32316305};

}  // namespace

struct SideFusionOptions {
  Slot<Backbone> clip;
  Slot<Backbone> rs_backbone;
  Slot<Bridge> bridge;
  bool freeze_clip = true;
  std::optional<bool> clip_norm;
  std::string autocast = "off";
  static auto fields() {
    using config::field;
    using O = SideFusionOptions;
    return std::tuple{
        field("clip", &O::clip, "the foundation model: CLIP's image tower, or any other backbone")
            .alias("clip_backbone")
            .required(),
        field("rs_backbone", &O::rs_backbone, "the network at its side, which is always trained")
            .required(),
        field("bridge", &O::bridge, "what carries features across, one of this kind a level")
            .required(),
        field("freeze_clip", &O::freeze_clip,
              "the foundation model does not learn: it runs once over all dates, without a graph "
              "and in evaluation mode; what is new on it, a pyramid, is trained nevertheless"),
        field("clip_norm", &O::clip_norm,
              "give the foundation model images of CLIP's mean and deviation, made from those of "
              "ImageNet's, which the preprocessor gives; default: for three channels"),
        field("autocast", &O::autocast, "precision in which the frozen foundation model runs")
            .one_of({"off", "bf16", "fp16"})};
  }
};

/// Gives the side network's levels, fused, and the foundation model's extras. Children: `clip`,
/// `rs_backbone`, `bridging_modules.0` ….
class SideFusionClip final : public Backbone {
 public:
  static FeatureSpec output(const SideFusionOptions& options, const FeatureSpec& image) {
    const FeatureSpec clip = options.clip.ask(&Backbone::Statics::output, image);
    FeatureSpec side = options.rs_backbone.ask(&Backbone::Statics::output, image);
    if (side.levels.size() != clip.levels.size()) {
      throw OptionError(
          "rs_backbone",
          fmt::format("a bridge joins a level of each, got {} levels ({}) beside {} "
                      "({})",
                      side.levels.size(), side.str(), clip.levels.size(), clip.str()));
    }
    for (std::size_t i = 0; i < side.levels.size(); ++i) {
      options.bridge.ask(&Bridge::Statics::check, Bridge::Context{clip.levels[i], side.levels[i]});
    }
    if (options.clip_norm.value_or(false) && image_channels(image) != 3) {
      throw OptionError("clip_norm", fmt::format("knows three channels, got images of {}; write "
                                                 "false",
                                                 image_channels(image)));
    }
    if (options.autocast != "off" && !options.freeze_clip) {
      throw OptionError("autocast", fmt::format("is of a frozen foundation model, got \"{}\" with "
                                                "freeze_clip = false; use train.amp",
                                                options.autocast));
    }
    for (const auto& [name, width] : clip.extras) side.extras[name] = width;
    return side;
  }

  SideFusionClip(const SideFusionOptions& options, const Context& context)
      : frozen_(options.freeze_clip),
        renormalise_(options.clip_norm.value_or(image_channels(context.input) == 3)) {
    output(options, context.input);
    std::vector<double> scale, shift;
    for (std::size_t c = 0; c < kClipStd.size(); ++c) {
      scale.push_back(kImageNetStd[c] / kClipStd[c]);
      shift.push_back((kImageNetMean[c] - kClipMean[c]) / kClipStd[c]);
    }
    scale_ = DeviceValues(scale);
    shift_ = DeviceValues(shift);
    if (options.autocast != "off")
      autocast_ = options.autocast == "bf16" ? at::kBFloat16 : at::kHalf;
    clip_ = register_module("clip", options.clip.build({context.input}));
    side_ = register_module("rs_backbone", options.rs_backbone.build({context.input}));
    const auto given = options.clip.ask(&Backbone::Statics::output, context.input).levels;
    const auto taken = options.rs_backbone.ask(&Backbone::Statics::output, context.input).levels;
    bridges_ = register_module("bridging_modules", std::make_shared<nn::LayerList<Bridge>>());
    for (std::size_t i = 0; i < taken.size(); ++i) {
      bridges_->add(options.bridge.build({given[i], taken[i]}));
    }
    if (frozen_) freeze();
  }

  /// [N, C, H, W] -> the levels of output().
  Features forward(const at::Tensor& images) override {
    return fuse(frozen_ ? trunk(images) : clip_->forward(for_clip(images)), images);
  }

  DateFeatures forward_dates(const at::Tensor& images, std::int64_t dates, bool joint) override {
    if (!frozen_ || dates == 1 || joint || !is_training()) {
      return Backbone::forward_dates(images, dates, joint);
    }
    DateFeatures features = split_dates(trunk(images), dates);
    const auto parts = images.chunk(dates, 0);
    for (std::size_t d = 0; d < parts.size(); ++d) {
      features[d] = fuse(std::move(features[d]), parts[d]);
    }
    return features;
  }

  void train(bool on = true) override {
    Backbone::train(on);
    if (!frozen_) return;
    clip_->eval();
    for (const auto& part : new_parts_) part->train(on);
  }

  /// The foundation model, the side network's own layers, the bridges.
  Layers layers() const override {
    Layers layers{{"clip"}};
    for (std::vector<std::string> layer : side_->layers()) {
      for (std::string& part : layer) part = "rs_backbone." + part;
      layers.push_back(std::move(layer));
    }
    layers.push_back({"bridging_modules"});
    return layers;
  }

 private:
  void freeze() {
    for (at::Tensor& parameter : clip_->parameters()) parameter.set_requires_grad(false);
    finishes_ = dynamic_cast<TrunkBackbone*>(clip_.get());
    if (finishes_ == nullptr) return;
    for (const std::string& name : finishes_->new_parts()) {
      new_parts_.push_back(clip_->named_children()[name]);
      for (at::Tensor& parameter : new_parts_.back()->parameters()) {
        parameter.set_requires_grad(true);
      }
    }
  }

  at::Tensor for_clip(const at::Tensor& images) const {
    if (!renormalise_) return images;
    return images * scale_.on(images).view({1, 3, 1, 1}) + shift_.on(images).view({1, 3, 1, 1});
  }

  /// What the frozen part gives, without a graph.
  Features trunk(const at::Tensor& images) {
    const at::NoGradGuard no_graph;
    // A model that is served has a cache for all of it; in training this part alone stays as it is.
    if (nn::FoldCache::current() == nullptr) {
      std::vector<std::uint64_t> now = nn::state_of_weights(*clip_);
      if (now != folded_state_) folds_.clear();
      folded_state_ = std::move(now);
    }
    const nn::FoldCache::Use use(nn::FoldCache::current() ? nn::FoldCache::current() : &folds_);
    const auto run = [&] {
      const at::Tensor own = for_clip(images);
      return finishes_ != nullptr ? finishes_->trunk(own) : clip_->forward(own);
    };
    if (!autocast_) return run();
    const nn::Autocast mixed(images.device().type(), autocast_);
    Features features = run();
    for (at::Tensor& level : features.levels) level = level.to(images.scalar_type());
    for (auto& [name, extra] : features.extras) extra = extra.to(images.scalar_type());
    return features;
  }

  /// `clip` is the trunk's of a frozen model, else the model's.
  Features fuse(Features clip, const at::Tensor& images) const {
    if (frozen_ && finishes_ != nullptr) {
      clip = finishes_->finish(std::move(clip), images.size(2), images.size(3));
    }
    Features fused = side_->forward(images);
    for (std::size_t i = 0; i < fused.levels.size(); ++i) {
      fused.levels[i] = (*bridges_)[i]->forward(clip.levels[i], fused.levels[i]);
    }
    for (const auto& [name, extra] : clip.extras) fused.extras[name] = extra;
    return fused;
  }

  bool frozen_, renormalise_;
  DeviceValues scale_, shift_;  // from ImageNet's mean and deviation to CLIP's
  std::optional<at::ScalarType> autocast_;
  std::shared_ptr<Backbone> clip_, side_;
  std::shared_ptr<nn::LayerList<Bridge>> bridges_;
  nn::FoldCache folds_;                        // of the frozen part, made of folded_state_
  std::vector<std::uint64_t> folded_state_;
  TrunkBackbone* finishes_ = nullptr;  // of a frozen model that has something new on it
  std::vector<std::shared_ptr<torch::nn::Module>> new_parts_;
};

}  // namespace strata::backbones

STRATA_COMPONENTS(backbones_side_fusion) {
  using namespace backbones;
  registry.add<Backbone, SideFusionClip, SideFusionOptions>(
      "SideFusionCLIP", "a frozen foundation model and a network trained at its side (VLCD)",
      {"SideFusionViT"});
}
