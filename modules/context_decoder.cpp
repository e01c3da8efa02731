// DenseCLIP's context decoder (Rao et al., CVPR 2022): texts look at the image that they describe.
#include "modules/context_decoder.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/gelu.h>
#include <fmt/format.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <functional>
#include <optional>

#include "framework/nn/attention.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"

namespace strata::modules {

struct ContextDecoderOptions {
  std::int64_t width = 256;
  std::int64_t heads = 4;
  std::int64_t layers = 6;
  double dropout = 0.1;
  std::optional<std::int64_t> visual_dim;
  static auto fields() {
    using config::field;
    using O = ContextDecoderOptions;
    return std::tuple{
        field("width", &O::width, "of the tokens between the projections")
            .alias("transformer_width")
            .at_least(1),
        field("heads", &O::heads, "of every attention").alias("transformer_heads").at_least(1),
        field("layers", &O::layers, "decoder layers").alias("transformer_layers").at_least(1),
        field("dropout", &O::dropout, "after attention and in the MLP").at_least(0).below(1),
        field("visual_dim", &O::visual_dim, "width of texts and image features; derived")};
  }
};

namespace {

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

torch::nn::Linear linear(std::int64_t in, std::int64_t out, bool bias = true) {
  torch::nn::Linear made(torch::nn::LinearOptions(in, out).bias(bias));
  nn::truncated_normal_(made->weight, 0.02);
  if (bias) nn::constant_(made->bias, 0);
  return made;
}

/// Children "0", "1", … by the kinds that the decoder joins: norms and linear layers.
class Chain final : public torch::nn::Module {
 public:
  Chain& add(const torch::nn::LayerNorm& norm) {
    return push(norm, [layer = norm.ptr()](const at::Tensor& x) { return layer->forward(x); });
  }
  Chain& add(const torch::nn::Linear& linear) {
    return push(linear, [layer = linear.ptr()](const at::Tensor& x) { return layer->forward(x); });
  }
  at::Tensor forward(at::Tensor x) const {
    for (const auto& step : steps_) x = step(x);
    return x;
  }

 private:
  template <class Holder, class Step>
  Chain& push(const Holder& layer, Step step) {
    register_module(std::to_string(steps_.size()), layer);
    steps_.push_back(std::move(step));
    return *this;
  }
  std::vector<std::function<at::Tensor(const at::Tensor&)>> steps_;
};

/// Queries from one side, keys and values from the other; only the last projection has a bias.
class ContextAttention final : public torch::nn::Module {
 public:
  ContextAttention(std::int64_t width, std::int64_t heads, double dropout)
      : q_(register_module("q_proj", linear(width, width, false))),
        k_(register_module("k_proj", linear(width, width, false))),
        v_(register_module("v_proj", linear(width, width, false))),
        proj_(register_module("proj", linear(width, width))),
        heads_(heads),
        dropout_(dropout) {}

  at::Tensor forward(const at::Tensor& q, const at::Tensor& kv) {
    const at::Tensor y = nn::attention(q_->forward(q), k_->forward(kv), v_->forward(kv), heads_);
    return at::dropout(proj_->forward(y), dropout_, is_training());
  }

 private:
  torch::nn::Linear q_, k_, v_, proj_;
  std::int64_t heads_;
  double dropout_;
};

class ContextLayer final : public torch::nn::Module {
 public:
  explicit ContextLayer(const ContextDecoderOptions& o)
      : self_(std::make_shared<ContextAttention>(o.width, o.heads, o.dropout)),
        cross_(std::make_shared<ContextAttention>(o.width, o.heads, o.dropout)),
        norm1_(layer_norm(o.width)),
        norm2_(layer_norm(o.width)),
        norm3_(layer_norm(o.width)),
        expand_(linear(o.width, 4 * o.width)),
        reduce_(linear(4 * o.width, o.width)),
        dropout_(o.dropout) {
    register_module("self_attn", self_);
    register_module("cross_attn", cross_);
    register_module("norm1", norm1_);
    register_module("norm2", norm2_);
    register_module("norm3", norm3_);
    const auto mlp = std::make_shared<torch::nn::Module>();
    mlp->register_module("0", expand_);
    mlp->register_module("3", reduce_);
    register_module("mlp", mlp);
  }

  at::Tensor forward(at::Tensor x, const at::Tensor& memory) {
    const at::Tensor own = norm1_->forward(x);
    x = x + self_->forward(own, own);
    x = x + cross_->forward(norm2_->forward(x), memory);
    at::Tensor y = at::gelu(expand_->forward(norm3_->forward(x)));
    y = reduce_->forward(at::dropout(y, dropout_, is_training()));
    return x + at::dropout(y, dropout_, is_training());
  }

 private:
  std::shared_ptr<ContextAttention> self_, cross_;
  torch::nn::LayerNorm norm1_, norm2_, norm3_;
  torch::nn::Linear expand_, reduce_;
  double dropout_;
};

}  // namespace

class DenseClipContextDecoder final : public ContextDecoder {
 public:
  static void check(const ContextDecoderOptions& options, const Context& context) {
    if (options.width % options.heads != 0) {
      throw OptionError("heads", fmt::format("must divide the width of {}, got {}", options.width,
                                             options.heads));
    }
    if (options.visual_dim && *options.visual_dim != context.width) {
      throw OptionError("visual_dim", fmt::format("texts and image features have {}, got {}; leave "
                                                  "it out to have it derived",
                                                  context.width, *options.visual_dim));
    }
  }

  DenseClipContextDecoder(const ContextDecoderOptions& options, const Context& context)
      : memory_proj_(std::make_shared<Chain>()),
        text_proj_(std::make_shared<Chain>()),
        out_proj_(std::make_shared<Chain>()) {
    check(options, context);
    memory_proj_->add(layer_norm(context.width))
        .add(linear(context.width, options.width))
        .add(layer_norm(options.width));
    text_proj_->add(layer_norm(context.width)).add(linear(context.width, options.width));
    out_proj_->add(layer_norm(options.width)).add(linear(options.width, context.width));
    register_module("memory_proj", memory_proj_);
    register_module("text_proj", text_proj_);
    decoder_ = register_module("decoder", std::make_shared<nn::LayerList<ContextLayer>>());
    for (std::int64_t i = 0; i < options.layers; ++i) {
      decoder_->add(std::make_shared<ContextLayer>(options));
    }
    register_module("out_proj", out_proj_);
  }

  at::Tensor forward(const at::Tensor& text, const at::Tensor& visual) override {
    const at::Tensor memory = memory_proj_->forward(visual);
    at::Tensor x = text_proj_->forward(text);
    for (std::size_t i = 0; i < decoder_->size(); ++i) x = (*decoder_)[i]->forward(x, memory);
    return out_proj_->forward(x);
  }

 private:
  std::shared_ptr<Chain> memory_proj_, text_proj_, out_proj_;
  std::shared_ptr<nn::LayerList<ContextLayer>> decoder_;
};

}  // namespace strata::modules

STRATA_COMPONENTS(modules_context_decoder) {
  using namespace modules;
  registry.add<ContextDecoder, DenseClipContextDecoder, ContextDecoderOptions>(
      "ContextDecoder", "texts attend to the image, layer by layer (DenseCLIP)");
}
