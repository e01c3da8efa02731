// VLCD's change feature calculation (Qiu et al., JSTARS 2025): two dates into one, level by level,
// with what their texts are about; and the same without texts.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/tokens.hpp"
#include "necks/neck.hpp"

namespace strata::necks {

struct ChangeFeatureOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  std::int64_t out_channels = 256;
  std::optional<std::int64_t> reduce_to;
  nn::NormOptions norm;
  static auto fields() {
    using config::field;
    using O = ChangeFeatureOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level in front; derived")
            .one_or_many(),
        field("out_channels", &O::out_channels, "channels of every level it gives").at_least(1),
        field("reduce_to", &O::reduce_to,
              "channels of every level while dates are compared, by a 1x1 convolution in front, "
              "which saves most of the parameters; left out: those it has")
            .at_least(1),
        field("norm", &O::norm, "normalisation of every block")};
  }
};

struct CfcOptions : ChangeFeatureOptions {
  std::optional<std::int64_t> text_dim;
  static auto fields() {
    return config::join(
        ChangeFeatureOptions::fields(),
        config::field("text_dim", &CfcOptions::text_dim, "width of the texts' features; derived"));
  }
};

namespace {

FeatureSpec compared(const ChangeFeatureOptions& options, const FeatureSpec& input) {
  check_in_channels(options.in_channels, input.channels());
  if (input.dates != 2) {
    throw OptionError("", fmt::format("compares two dates, got features of {}", input.dates));
  }
  nn::Norm(options.out_channels, options.norm);  // throws when the groups do not fit
  FeatureSpec spec;
  spec.levels = input.levels;
  for (FeatureLevel& level : spec.levels) level.channels = options.out_channels;
  spec.extras = extras_of_dates(input);
  return spec;
}

/// What both have: `reduce_convs`, `fusion_convs`.
class ChangeFeatures : public Neck {
 public:
  DateFeatures forward(const DateFeatures& features) override {
    Features fused{{}, extras_of_dates(features)};
    for (std::size_t i = 0; i < fusion_convs_->size(); ++i) {
      at::Tensor a = features[0].levels[i], b = features[1].levels[i];
      if (reduce_convs_) {
        a = (*reduce_convs_)[i]->forward(a);
        b = (*reduce_convs_)[i]->forward(b);
      }
      std::vector<at::Tensor> maps = {a, b, at::abs(a - b)};
      relate(i, features, maps);
      fused.levels.push_back((*fusion_convs_)[i]->forward(at::cat(maps, 1)));
    }
    return {std::move(fused)};
  }

 protected:
  using Blocks = nn::LayerList<nn::ConvModuleImpl>;

  ChangeFeatures(const ChangeFeatureOptions& options, const FeatureSpec& input, std::int64_t maps) {
    for (const FeatureLevel& level : input.levels) {
      widths_.push_back(options.reduce_to.value_or(level.channels));
    }
    if (options.reduce_to) {
      reduce_convs_ = register_module("reduce_convs", std::make_shared<Blocks>());
      for (const FeatureLevel& level : input.levels) {
        reduce_convs_->add(std::make_shared<nn::ConvModuleImpl>(
            nn::ConvModuleOptions{.in_channels = level.channels,
                                  .out_channels = *options.reduce_to,
                                  .norm = {.type = "none"},
                                  .activation = nn::Activation::none()}));
      }
    }
    fusion_convs_ = register_module("fusion_convs", std::make_shared<Blocks>());
    for (const std::int64_t width : widths_) {
      fusion_convs_->add(std::make_shared<nn::ConvModuleImpl>(
          nn::ConvModuleOptions{.in_channels = maps * width,
                                .out_channels = options.out_channels,
                                .kernel = 3,
                                .norm = options.norm}));
    }
  }

  /// Adds to the maps of level i.
  virtual void relate(std::size_t, const DateFeatures&, std::vector<at::Tensor>&) {}

  std::vector<std::int64_t> widths_;  // of every level, once reduced

 private:
  std::shared_ptr<Blocks> reduce_convs_, fusion_convs_;
};

/// Texts into the space of a level: Linear, LayerNorm, ReLU.
class TextProjection final : public torch::nn::Module {
 public:
  TextProjection(std::int64_t text, std::int64_t channels)
      : linear_(register_module("0", torch::nn::Linear(text, channels))),
        norm_(register_module("1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({channels})))) {
  }
  /// [N, K, text] -> [N, K, channels]
  at::Tensor forward(const at::Tensor& text) {
    return at::relu(norm_->forward(linear_->forward(text)));
  }

 private:
  torch::nn::Linear linear_;
  torch::nn::LayerNorm norm_;
};

constexpr double kTiny = 1e-12;  // shorter vectors are not brought to length 1

/// Every pixel of `map` [N, C, h, w] at unit length, times its mean cosine with `texts` [N, K, C].
at::Tensor relevance(const at::Tensor& map, const at::Tensor& texts) {
  const at::Tensor lengths =
      at::linalg_vector_norm(texts, 2, {2}, /*keepdim=*/true).clamp_min(kTiny);
  const at::Tensor direction = (texts / lengths).mean(1).unsqueeze(2);  // [N, C, 1]
  const at::Tensor pixels = nn::tokens_of(map).flatten(1, 2);
  const at::Tensor length = at::linalg_vector_norm(pixels, 2, {2}, true).clamp_min(kTiny);
  const at::Tensor weight = at::bmm(pixels, direction) / length / length;  // [N, h * w, 1]
  return map * weight.view({map.size(0), 1, map.size(2), map.size(3)});
}

}  // namespace

/// Of dates A, B: conv([A, B, |A - B|, (rel A + rel B) / 2]), where rel is `relevance` to the texts
/// of the date.
class Cfc final : public ChangeFeatures {
 public:
  static FeatureSpec output(const CfcOptions& options, const FeatureSpec& input) {
    FeatureSpec spec = compared(options, input);
    const auto text = input.extras.find("text");
    if (text == input.extras.end()) {
      throw OptionError("",
                        "relates images to texts, and there are none in front of it; use the "
                        "VLCD segmentor, or SimpleCFC");
    }
    if (options.text_dim && *options.text_dim != text->second) {
      throw OptionError("text_dim", fmt::format("the texts in front have {}, got {}; leave it out "
                                                "to have it derived",
                                                text->second, *options.text_dim));
    }
    return spec;
  }
  static bool reads(const CfcOptions&, const FeatureSpec&, const std::string& extra) {
    return extra == "text";
  }

  Cfc(const CfcOptions& options, const Context& context)
      : ChangeFeatures(options, context.input, 4) {
    output(options, context.input);
    text_proj_ = register_module("text_proj", std::make_shared<nn::LayerList<TextProjection>>());
    for (const std::int64_t width : widths_) {
      text_proj_->add(std::make_shared<TextProjection>(context.input.extras.at("text"), width));
    }
  }

 private:
  void relate(std::size_t i, const DateFeatures& features, std::vector<at::Tensor>& maps) override {
    TextProjection& project = *(*text_proj_)[i];
    const at::Tensor a = relevance(maps[0], project.forward(features[0].extras.at("text")));
    const at::Tensor b = relevance(maps[1], project.forward(features[1].extras.at("text")));
    maps.push_back((a + b) / 2);
  }

  std::shared_ptr<nn::LayerList<TextProjection>> text_proj_;
};

/// Of dates A, B: conv([A, B, |A - B|]).
class SimpleCfc final : public ChangeFeatures {
 public:
  static FeatureSpec output(const ChangeFeatureOptions& options, const FeatureSpec& input) {
    return compared(options, input);
  }
  SimpleCfc(const ChangeFeatureOptions& options, const Context& context)
      : ChangeFeatures(options, context.input, 3) {
    output(options, context.input);
  }
};

}  // namespace strata::necks

STRATA_COMPONENTS(necks_cfc) {
  using namespace necks;
  registry.add<Neck, Cfc, CfcOptions>("CFC", "two dates and their texts into one (VLCD)",
                                      {"CFCModule"});
  registry.add<Neck, SimpleCfc, ChangeFeatureOptions>(
      "SimpleCFC", "two dates into one: both, and their distance (VLCD without texts)",
      {"SimpleCFCModule"});
}
