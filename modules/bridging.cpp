// Bridges from a foundation model's maps to a side network's, of the same or another size: VLCD's
// two (Qiu et al., JSTARS 2025) and BAN's (Li et al., TGRS 2024).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/addmv.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <fmt/format.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <optional>

#include "framework/nn/attention.hpp"
#include "framework/nn/conv_module.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/resize.hpp"
#include "framework/nn/tokens.hpp"
#include "modules/bridge.hpp"

namespace strata::modules {

namespace {

torch::nn::LayerNorm norm_of(std::int64_t channels, double eps = 1e-5) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({channels}).eps(eps));
}

/// [N, C, H, W] -> [N, H * W, C].
at::Tensor token_rows(const at::Tensor& map) { return nn::tokens_of(map).flatten(1, 2); }

/// [N, H * W, C] -> [N, C, H, W] of the size of `like`.
at::Tensor rows_as_map(const at::Tensor& rows, const at::Tensor& like) {
  return nn::map_of(rows.view({rows.size(0), like.size(2), like.size(3), rows.size(2)}));
}

/// linear(norm(x)). Where only the layers learn, as behind a frozen model, the norm's scale and
/// shift go into the linear layer: no gradient of the rows is computed for their sake.
at::Tensor normed_linear(const at::Tensor& x, const torch::nn::LayerNorm& norm,
                         const torch::nn::Linear& linear) {
  if (x.requires_grad() || !at::GradMode::is_enabled()) {
    return linear.ptr()->forward(norm.ptr()->forward(x));
  }
  const at::Tensor unit = at::layer_norm(x, norm->options.normalized_shape(), {}, {},
                                         norm->options.eps());
  return at::linear(unit, linear->weight * norm->weight,
                    at::addmv(linear->bias, linear->weight, norm->bias));
}

}  // namespace

// ------------------------------------------------------------------------------------------- dot

struct BridgingOptions {
  bool layer_norm = true;
  bool scale_attn = true;
  double alpha = 0.5;
  static auto fields() {
    using config::field;
    using O = BridgingOptions;
    return std::tuple{
        field("layer_norm", &O::layer_norm, "normalise what is given, at each pixel")
            .alias("use_layer_norm"),
        field("scale_attn", &O::scale_attn,
              "divide scores by the root of the channels; without, attention is nearly one-hot"),
        field("alpha", &O::alpha, "learned weight of what is added: its initial value")};
  }
};

/// P = projected foundation tokens: side + alpha * softmax(side P^T) P.
class BridgingModule final : public Bridge {
 public:
  static void check(const BridgingOptions&, const Context&) {}

  BridgingModule(const BridgingOptions& options, const Context& context)
      : proj_(register_module(
            "proj", torch::nn::Linear(context.foundation.channels, context.side.channels))) {
    if (options.layer_norm) {
      norm_ = register_module("layer_norm", norm_of(context.foundation.channels));
    }
    alpha_ = register_parameter("alpha", at::full({1}, options.alpha));
    if (!options.scale_attn) scale_ = 1.0;
  }

  at::Tensor forward(const at::Tensor& foundation, const at::Tensor& side) override {
    const at::Tensor tokens = token_rows(foundation);
    const at::Tensor given = norm_ ? normed_linear(tokens, norm_, proj_) : proj_->forward(tokens);
    const at::Tensor seen =
        nn::attention(token_rows(side), given, given, /*heads=*/1, {.scale = scale_});
    return at::addcmul(side, rows_as_map(seen, side), alpha_);
  }

 private:
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear proj_;
  at::Tensor alpha_;
  std::optional<double> scale_;
};

// ------------------------------------------------------------------------------------------- mha

struct ViTBridgingOptions {
  std::int64_t heads = 8;
  std::optional<std::int64_t> width;
  bool layer_norm = true;
  bool scale_attn = true;
  double alpha = 0.5;
  static auto fields() {
    using config::field;
    using O = ViTBridgingOptions;
    return std::tuple{
        field("heads", &O::heads, "of the attention").alias("num_heads").at_least(1),
        field("width", &O::width,
              "of queries, keys and values; default: the side's channels, rounded up to a multiple "
              "of the heads")
            .at_least(1),
        field("layer_norm", &O::layer_norm, "normalise both sides, at each pixel")
            .alias("use_layer_norm"),
        field("scale_attn", &O::scale_attn, "divide scores by the root of a head's width"),
        field("alpha", &O::alpha, "learned weight of what is added: its initial value")};
  }
};

/// side + alpha * out(attention(q(LN(side)), k(LN(foundation)), v(LN(foundation)))).
class ViTBridgingModule final : public Bridge {
 public:
  static void check(const ViTBridgingOptions& options, const Context&) {
    if (options.width && *options.width % options.heads != 0) {
      throw OptionError("width", fmt::format("must be a multiple of the {} heads, got {}",
                                             options.heads, *options.width));
    }
  }

  ViTBridgingModule(const ViTBridgingOptions& options, const Context& context)
      : heads_(options.heads) {
    check(options, context);
    const std::int64_t given = context.foundation.channels, side = context.side.channels;
    const std::int64_t width = options.width.value_or((side + heads_ - 1) / heads_ * heads_);
    if (options.layer_norm) {
      norm_clip_ = register_module("norm_clip", norm_of(given));
      norm_rs_ = register_module("norm_rs", norm_of(side));
    }
    q_ = register_module("q_proj", torch::nn::Linear(side, width));
    k_ = register_module("k_proj", torch::nn::Linear(given, width));
    v_ = register_module("v_proj", torch::nn::Linear(given, width));
    out_ = register_module("out_proj", torch::nn::Linear(width, side));
    alpha_ = register_parameter("alpha", at::full({1}, options.alpha));
    if (!options.scale_attn) scale_ = 1.0;
  }

  at::Tensor forward(const at::Tensor& foundation, const at::Tensor& side) override {
    at::Tensor given = token_rows(foundation), own = token_rows(side);
    if (norm_clip_) {
      given = norm_clip_->forward(given);
      own = norm_rs_->forward(own);
    }
    const at::Tensor seen = nn::attention(q_->forward(own), k_->forward(given), v_->forward(given),
                                          heads_, {.scale = scale_});
    return at::addcmul(side, rows_as_map(out_->forward(seen), side), alpha_);
  }

 private:
  std::int64_t heads_;
  torch::nn::LayerNorm norm_clip_{nullptr}, norm_rs_{nullptr};
  torch::nn::Linear q_{nullptr}, k_{nullptr}, v_{nullptr}, out_{nullptr};
  at::Tensor alpha_;
  std::optional<double> scale_;
};

// ------------------------------------------------------------------------------------------- ban

struct BridgeLayerOptions {
  std::optional<std::int64_t> heads;
  std::int64_t hidden = 4;
  static auto fields() {
    using config::field;
    using O = BridgeLayerOptions;
    return std::tuple{
        field("heads", &O::heads,
              "of the attention; default: one for each 64 of the side's channels, fewer where they "
              "do not divide them")
            .alias("num_heads")
            .at_least(1),
        field("hidden", &O::hidden, "channels inside the feed-forward block")
            .alias("feedforward_channels")
            .at_least(1)};
  }
};

/// Given is projected by LN and a 1x1 convolution to P. x = side + attention(LN(side), P), x = x +
/// ffn(LN(x)) with a depthwise 3x3 inside, and P enlarged to the side's size is added.
class BridgeLayer final : public Bridge {
 public:
  static void check(const BridgeLayerOptions& options, const Context& context) {
    if (options.heads && context.side.channels % *options.heads != 0) {
      throw OptionError("heads", fmt::format("must divide the side's {} channels, got {}",
                                             context.side.channels, *options.heads));
    }
  }

  BridgeLayer(const BridgeLayerOptions& options, const Context& context) {
    check(options, context);
    const std::int64_t side = context.side.channels;
    heads_ = options.heads.value_or(std::max<std::int64_t>(1, side / 64));
    while (side % heads_ != 0) --heads_;
    given_norm_ = norm_of(context.foundation.channels, 1e-6);
    given_conv_ = nn::ConvModule({.in_channels = context.foundation.channels,
                                  .out_channels = side,
                                  .norm = {.type = "none"},
                                  .activation = nn::Activation::none()});
    nn::xavier_uniform_(given_conv_->named_parameters(true)["conv.weight"]);
    const auto conv_clip = register_module("conv_clip", std::make_shared<torch::nn::Module>());
    conv_clip->register_module("0", given_norm_);
    conv_clip->register_module("1", given_conv_);

    norm1_ = register_module("norm1", norm_of(side));
    attention_ = std::make_shared<nn::PackedAttention>(side, heads_);
    register_module("attn", std::make_shared<torch::nn::Module>())
        ->register_module("attn", attention_);
    norm2_ = register_module("norm2", norm_of(side));
    expand_ = nn::conv2d(side, options.hidden, 1, {.bias = true});
    around_ = nn::conv2d(options.hidden, options.hidden, 3,
                         {.padding = 1, .groups = options.hidden, .bias = true});
    reduce_ = nn::conv2d(options.hidden, side, 1, {.bias = true});
    const auto layers = std::make_shared<torch::nn::Module>();
    layers->register_module("0", expand_);
    layers->register_module("1", around_);
    layers->register_module("4", reduce_);
    register_module("ffn", std::make_shared<torch::nn::Module>())
        ->register_module("layers", layers);
  }

  at::Tensor forward(const at::Tensor& foundation, const at::Tensor& side) override {
    const at::Tensor given =
        given_conv_->forward(nn::map_of(given_norm_->forward(nn::tokens_of(foundation))));
    const at::Tensor own = token_rows(side);
    at::Tensor x = own + attention_->forward(norm1_->forward(own), token_rows(given));
    const at::Tensor mixed =
        around_->forward(expand_->forward(rows_as_map(norm2_->forward(x), side)));
    x = rows_as_map(x, side) + reduce_->forward(at::gelu(mixed));
    return x + nn::resize_as(given, side);
  }

 private:
  std::int64_t heads_ = 1;
  torch::nn::LayerNorm given_norm_{nullptr}, norm1_{nullptr}, norm2_{nullptr};
  nn::ConvModule given_conv_{nullptr};
  std::shared_ptr<nn::PackedAttention> attention_;
  torch::nn::Conv2d expand_{nullptr}, around_{nullptr}, reduce_{nullptr};
};

}  // namespace strata::modules

STRATA_COMPONENTS(modules_bridging) {
  using namespace modules;
  registry.add<Bridge, BridgingModule, BridgingOptions>(
      "BridgingModule", "attention over projected tokens, without projections of its own", {"dot"});
  registry.add<Bridge, ViTBridgingModule, ViTBridgingOptions>(
      "ViTBridgingModule", "multi-head attention, the side's tokens to the foundation's", {"mha"});
  registry.add<Bridge, BridgeLayer, BridgeLayerOptions>(
      "BridgeLayer", "BAN's: attention, feed-forward block and the enlarged map itself", {"ban"});
}
