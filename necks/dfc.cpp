// ChangeCLIP's differential features compensation (Dong et al., ISPRS J. 2024): two dates into one
// pyramid, weighted by how little they resemble each other.
#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/sigmoid.h>
#include <fmt/format.h>

#include "framework/nn/layers.hpp"
#include "framework/nn/squeeze_excite.hpp"
#include "necks/fpn.hpp"

namespace strata::necks {

struct DfcOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  FpnOptions fpn;
  std::int64_t ratio = 16;
  static auto fields() {
    using config::field;
    using O = DfcOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level of a date; derived")
            .one_or_many(),
        field("fpn", &O::fpn,
              "the pyramid over both dates, joined along their channels; it says how many channels "
              "every level has from there on"),
        field("ratio", &O::ratio, "channels of the levels over those that their weights come from")
            .at_least(1)};
  }
};

namespace {

/// Weighs channels and reduces them: conv1, conv2 (the weights, a hard sigmoid), conv_last.
class ChannelAttention final : public torch::nn::Module {
 public:
  ChannelAttention(std::int64_t channels, std::int64_t hidden, std::int64_t out)
      : reduce_(nn::conv2d(channels, hidden, 1, {.bias = true})),
        expand_(nn::conv2d(hidden, channels, 1, {.bias = true})),
        last_({.in_channels = channels, .out_channels = out, .norm = {.type = "none"}}) {
    register_module("conv1", std::make_shared<torch::nn::Module>())
        ->register_module("conv", reduce_);
    register_module("conv2", std::make_shared<torch::nn::Module>())
        ->register_module("conv", expand_);
    register_module("conv_last", last_);
  }
  at::Tensor forward(const at::Tensor& x) {
    return last_->forward(
        nn::squeeze_excite(x, reduce_, expand_, nn::Activation::relu(), nn::Gate::hard_sigmoid));
  }

 private:
  torch::nn::Conv2d reduce_, expand_;
  nn::ConvModule last_;
};

FeatureSpec joined(const FeatureSpec& input) {
  FeatureSpec spec;
  spec.levels = input.levels;
  for (FeatureLevel& level : spec.levels) level.channels *= 2;
  return spec;
}

}  // namespace

/// Level by level, of dates A and B: q = pyramid([A, B]), m = relu(conv(|A - B|)), w = sigmoid(1 -
/// cos(A, B)) at each pixel -> channel attention over [q w, m, q].
class Dfc final : public Neck {
 public:
  static FeatureSpec output(const DfcOptions& options, const FeatureSpec& input) {
    check_in_channels(options.in_channels, input.channels());
    if (input.dates != 2) {
      throw OptionError("", fmt::format("compares two dates, got features of {}", input.dates));
    }
    FeatureSpec spec;
    try {
      spec = Fpn::output(options.fpn, joined(input));
    } catch (const OptionError& error) {
      throw OptionError("fpn." + error.key(), error.what());
    }
    if (spec.levels.size() != input.levels.size()) {
      throw OptionError("fpn.num_outs", fmt::format("the pyramid must give the {} levels in front, "
                                                    "got {}; leave it out",
                                                    input.levels.size(), spec.levels.size()));
    }
    spec.extras = extras_of_dates(input);
    return spec;
  }

  Dfc(const DfcOptions& options, const Context& context) {
    output(options, context.input);
    fpn_ = std::make_shared<Fpn>(options.fpn, Neck::Context{joined(context.input)});
    register_module("fpn", fpn_);
    minus_conv_ =
        register_module("minus_conv", std::make_shared<nn::LayerList<nn::ConvModuleImpl>>());
    channel_att_ =
        register_module("channel_att", std::make_shared<nn::LayerList<ChannelAttention>>());
    const std::int64_t out = options.fpn.out_channels;
    for (const FeatureLevel& level : context.input.levels) {
      minus_conv_->add(std::make_shared<nn::ConvModuleImpl>(nn::ConvModuleOptions{
          .in_channels = level.channels, .out_channels = out, .norm = {.type = "none"}}));
      channel_att_->add(std::make_shared<ChannelAttention>(
          3 * out, std::max<std::int64_t>(1, 3 * out / options.ratio), out));
    }
  }

  DateFeatures forward(const DateFeatures& features) override {
    Features both{{}, extras_of_dates(features)};
    const std::vector<at::Tensor>&a = features[0].levels, &b = features[1].levels;
    for (std::size_t i = 0; i < a.size(); ++i) both.levels.push_back(at::cat({a[i], b[i]}, 1));
    both = fpn_->forward({both}).front();
    for (std::size_t i = 0; i < a.size(); ++i) {
      const at::Tensor q = both.levels[i];
      const at::Tensor m = (*minus_conv_)[i]->forward(at::abs(a[i] - b[i]));
      const at::Tensor unlike = at::sigmoid(1 - at::cosine_similarity(a[i], b[i], 1).unsqueeze(1));
      both.levels[i] = (*channel_att_)[i]->forward(at::cat({q * unlike, m, q}, 1));
    }
    return {std::move(both)};
  }

 private:
  std::shared_ptr<Fpn> fpn_;
  std::shared_ptr<nn::LayerList<nn::ConvModuleImpl>> minus_conv_;
  std::shared_ptr<nn::LayerList<ChannelAttention>> channel_att_;
};

}  // namespace strata::necks

STRATA_COMPONENTS(necks_dfc) {
  using namespace necks;
  registry.add<Neck, Dfc, DfcOptions>("DFC", "two dates into one pyramid (ChangeCLIP)");
}
