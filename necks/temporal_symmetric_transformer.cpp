// Temporal symmetric transformer of ChangeMask (Zheng et al., ISPRS J. 2022): the features of two
// dates into one set by a convolution over space and time, symmetric in time. Parameter names and
// initial values are those of torchange's; there is no attention in it.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "necks/neck.hpp"

namespace strata::necks {

struct TemporalSymmetricTransformerOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  std::string interaction_type = "conv3d";
  std::int64_t kernel_size = 3;
  std::int64_t dilation = 1;
  std::string symmetric_fusion = "add";
  std::int64_t image_channels = 0;
  nn::NormOptions norm;
  static auto fields() {
    using config::field;
    using O = TemporalSymmetricTransformerOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level in front; derived")
            .one_or_many(),
        field("interaction_type", &O::interaction_type,
              "conv3d meets both dates and their surroundings at once; conv1plus2d the dates pixel "
              "by pixel, then the surroundings")
            .one_of({"conv3d", "conv1plus2d"}),
        field("kernel_size", &O::kernel_size, "in space, odd").at_least(1),
        field("dilation", &O::dilation, "in space").at_least(1),
        field("symmetric_fusion", &O::symmetric_fusion,
              "what joins the results of both orders of the dates: their sum or their product; "
              "none: of one order alone, so that dates must not change places")
            .one_of({"add", "mul", "none"}),
        field("image_channels", &O::image_channels,
              "above 0: hold the weights for images of so many channels as t.0, which no result "
              "depends on, so that checkpoints that have them load and save unchanged; they are "
              "not trained")
            .at_least(0),
        field("norm", &O::norm, "normalisation behind each convolution")};
  }
};

namespace {

/// What is computed of (first, second) and of (second, first); `back` is undefined where only one
/// order is asked for.
struct Orders {
  at::Tensor forth, back;
};

/// torchange's SpatioTemporalInteraction: its sequence's names, "0" to "5".
class Interaction final : public torch::nn::Module {
 public:
  Interaction(std::int64_t channels, const TemporalSymmetricTransformerOptions& options)
      : joint_(options.interaction_type == "conv3d"), dilation_(options.dilation) {
    const std::int64_t kernel = joint_ ? options.kernel_size : 1;
    time_ = register_module("0", std::make_shared<Time>(channels, kernel));
    norm_ = nn::Norm(channels, options.norm);
    if (norm_) register_module("2", norm_.module());
    if (joint_ || options.kernel_size == 1) return;
    space_ = register_module(
        "4", nn::conv2d(channels, channels, options.kernel_size,
                        {.padding = options.dilation * (options.kernel_size - 1) / 2,
                         .dilation = options.dilation,
                         .bias = true}));
    space_norm_ = nn::Norm(channels, options.norm);
    if (space_norm_) register_module("5", space_norm_.module());
  }

  /// first, second: [N, C, h, w] -> the same. While training, batch norm takes its statistics of
  /// each order by itself, (first, second) before (second, first).
  Orders forward(const at::Tensor& first, const at::Tensor& second, bool both) const {
    const auto relu = nn::Activation::relu();
    Orders y;
    if (const auto folded = nn::fold_norm(time_->weight, {}, norm_, first)) {
      y = convolved(first, second, folded->weight, folded->bias, both);
      y.forth.relu_();
      if (both) y.back.relu_();
    } else {
      y = convolved(first, second, time_->weight, {}, both);
      y.forth = nn::norm_act(std::move(y.forth), norm_, relu);
      if (both) y.back = nn::norm_act(std::move(y.back), norm_, relu);
    }
    if (!space_) return y;
    y.forth = nn::conv_norm_act(space_, space_norm_, relu, y.forth);
    if (both) y.back = nn::conv_norm_act(space_, space_norm_, relu, y.back);
    return y;
  }

 private:
  struct Time final : torch::nn::Module {
    Time(std::int64_t channels, std::int64_t kernel)
        : weight(register_parameter("weight",
                                    at::empty({channels, channels, 2, kernel, kernel}))) {
      nn::default_uniform_(weight);
    }
    at::Tensor weight;
  };

  /// conv3d over the dates stacked along time, which leaves one time: W0 a + W1 b. Both orders have
  /// the sum (W0 + W1)(a + b) and the difference (W0 - W1)(a - b): two convolutions instead of
  /// four, and when the dates change places the results do so to the last bit.
  Orders convolved(const at::Tensor& first, const at::Tensor& second, const at::Tensor& weight,
                   const at::Tensor& bias, bool both) const {
    const at::Tensor w0 = weight.select(2, 0), w1 = weight.select(2, 1);
    const std::int64_t padding = dilation_ * (weight.size(3) - 1) / 2;
    const auto conv = [&](const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) {
      return at::conv2d(x, w, b, 1, padding, dilation_);
    };
    if (!both) return {conv(at::cat({first, second}, 1), at::cat({w0, w1}, 1), bias), {}};
    const at::Tensor half_sum = conv(first + second, (w0 + w1) * 0.5, bias);
    const at::Tensor half_difference = conv(first - second, (w0 - w1) * 0.5, {});
    return {half_sum + half_difference, half_sum - half_difference};
  }

  bool joint_;
  std::int64_t dilation_;
  std::shared_ptr<Time> time_;
  torch::nn::Conv2d space_{nullptr};
  nn::Norm norm_, space_norm_;
};

}  // namespace

/// Level by level, S being an Interaction: S(A, B) + S(B, A), or their product, or S(A, B) alone.
class TemporalSymmetricTransformer final : public Neck {
 public:
  using Options = TemporalSymmetricTransformerOptions;

  static FeatureSpec output(const Options& options, const FeatureSpec& input) {
    check_in_channels(options.in_channels, input.channels());
    if (input.dates != 2) {
      throw OptionError("", fmt::format("compares two dates, got features of {}", input.dates));
    }
    if (options.kernel_size % 2 == 0) {
      throw OptionError("kernel_size",
                        fmt::format("must be odd to keep the size, got {}", options.kernel_size));
    }
    for (const FeatureLevel& level : input.levels) nn::Norm(level.channels, options.norm);
    FeatureSpec spec;
    spec.levels = input.levels;
    spec.extras = extras_of_dates(input);
    return spec;
  }

  TemporalSymmetricTransformer(const Options& options, const Context& context)
      : fusion_(options.symmetric_fusion) {
    output(options, context.input);
    if (options.image_channels > 0) {
      nn::set_unused(levels_->add(std::make_shared<Interaction>(options.image_channels, options)));
    }
    first_ = levels_->size();
    for (const FeatureLevel& level : context.input.levels) {
      levels_->add(std::make_shared<Interaction>(level.channels, options));
    }
    register_module("t", levels_);
  }

  DateFeatures forward(const DateFeatures& features) override {
    Features fused{{}, extras_of_dates(features)};
    const auto& before = features[0].levels;
    const auto& after = features[1].levels;
    for (std::size_t i = 0; i < before.size(); ++i) {
      const Orders y = (*levels_)[first_ + i]->forward(before[i], after[i], fusion_ != "none");
      fused.levels.push_back(fusion_ == "add"   ? y.forth + y.back
                             : fusion_ == "mul" ? y.forth * y.back
                                                : y.forth);
    }
    return {std::move(fused)};
  }

 private:
  std::string fusion_;
  std::size_t first_ = 0;  // of the levels in front; before it weights that are not used
  std::shared_ptr<nn::LayerList<Interaction>> levels_ =
      std::make_shared<nn::LayerList<Interaction>>();
};

}  // namespace strata::necks

STRATA_COMPONENTS(necks_temporal_symmetric_transformer) {
  using namespace necks;
  registry.add<Neck, TemporalSymmetricTransformer, TemporalSymmetricTransformerOptions>(
      "TemporalSymmetricTransformer",
      "features of two dates into one set by convolutions over space and time");
}
