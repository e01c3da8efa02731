// The text-guided Swin decoder of ChangeCLIP (Dong et al., ISPRS J. 208, 2024) and VLCD: from the
// coarsest level to the finest, doubled, refined by Swin blocks that first look at the text
// features of both dates, and joined with the next level.
#include <ATen/TensorOperators.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <fmt/format.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/resize.hpp"
#include "framework/nn/swin.hpp"
#include "framework/nn/tokens.hpp"
#include "heads/dense_head.hpp"

namespace strata::heads {

struct SwinTextDecodeOptions : DenseHeadOptions {
  std::optional<bool> use_text;
  std::int64_t num_heads = 2;
  std::int64_t window_size = 7;
  std::vector<double> drop_path = {0.0, 0.2};
  SwinTextDecodeOptions() { norm.type = "GN"; }
  static auto fields() {
    using config::field;
    using O = SwinTextDecodeOptions;
    return config::join(
        DenseHeadOptions::fields(),
        field("use_text", &O::use_text,
              "attend to the text features of each date; default: where the model has texts"),
        field("num_heads", &O::num_heads, "attention heads of the Swin blocks").at_least(1),
        field("window_size", &O::window_size, "tokens that a side of a window has").at_least(1),
        field("drop_path", &O::drop_path,
              "one Swin block each: probability of dropping its branches")
            .not_empty()
            .at_least(0)
            .below(1));
  }
};

namespace {

/// How wide things are inside a head of `channels`: 128, 64 and 256 in a head of 256.
struct TextWidths {
  explicit TextWidths(std::int64_t channels)
      : tokens(channels / 2), keys(channels / 4), values(channels) {}
  std::int64_t tokens, keys, values;
};

/// Layers named by their places, as in a Python Sequential.
std::shared_ptr<torch::nn::Module> sequential(
    std::initializer_list<std::pair<const char*, std::shared_ptr<torch::nn::Module>>> layers) {
  auto holder = std::make_shared<torch::nn::Module>();
  for (const auto& [place, layer] : layers) holder->register_module(place, layer);
  return holder;
}

torch::nn::Conv2d biased(std::int64_t in, std::int64_t out, std::int64_t kernel) {
  return nn::conv2d(in, out, kernel, {.padding = kernel / 2, .bias = true});
}

at::Tensor conv_relu(const torch::nn::Conv2d& conv, const at::Tensor& x) {
  return nn::activate_(nn::convolved(conv, x), nn::Activation::relu());
}

/// x + proj(attention of x to the text), then a Swin block. Without text a Swin block alone.
class SwinTextBlock final : public nn::SwinBlock {
 public:
  SwinTextBlock(const nn::SwinBlockOptions& options, const TextWidths& widths, bool text)
      : nn::SwinBlock(options), scale_(1 / std::sqrt(static_cast<double>(widths.keys))) {
    if (!text) return;
    query_ = torch::nn::Linear(widths.tokens, widths.keys);
    key_ = torch::nn::Linear(widths.tokens, widths.keys);
    value_ = torch::nn::Linear(widths.tokens, widths.values);
    proj_ = register_module("proj", torch::nn::Linear(widths.values, widths.tokens));
    register_module("low_rank_bilinear",
                    sequential({{"WQ", query_.ptr()}, {"WK", key_.ptr()}, {"WV", value_.ptr()}}));
  }
  /// tokens: [N, H, W, C]; text: [N, K, C] or undefined.
  at::Tensor forward(const at::Tensor& tokens, const at::Tensor& text) const {
    if (!proj_) return nn::SwinBlock::forward(tokens);
    // Queries, keys, values and projection are linear: what can be is made of the few texts instead
    // of every pixel, and the projection's bias goes to the values, as weights sum to 1.
    const at::Tensor key = key_.ptr()->forward(text) * scale_;
    const at::Tensor value = at::linear(value_.ptr()->forward(text), proj_->weight, proj_->bias);
    const at::Tensor flat = tokens.flatten(1, 2);
    const at::Tensor weights = at::softmax(at::baddbmm(key.matmul(query_->bias).unsqueeze(1), flat,
                                                       key.matmul(query_->weight).transpose(1, 2)),
                                           -1);
    const at::Tensor x = at::baddbmm(flat, weights, value).view(tokens.sizes());
    return nn::SwinBlock::forward(x);
  }

 private:
  double scale_;
  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, proj_{nullptr};
};

/// One step up: [N, below, h, w] and the next level [N, level, H, W] -> [N, channels, H, W].
class TextStage final : public torch::nn::Module {
 public:
  TextStage(const SwinTextDecodeOptions& options, std::int64_t below, std::int64_t level,
            bool text) {
    const TextWidths widths(options.channels);
    const std::int64_t width = widths.tokens;
    up_conv_ = biased(below, width, 3);
    up_norm_ = nn::Norm(width, options.norm);
    for (std::size_t i = 0; i < options.drop_path.size(); ++i) {
      blocks_->add(std::make_shared<SwinTextBlock>(
          nn::SwinBlockOptions{.width = width,
                               .heads = options.num_heads,
                               .window = options.window_size,
                               .shift = i % 2 == 0 ? 0 : options.window_size / 2,
                               .drop_path = options.drop_path[i],
                               .names = nn::SwinNames::original},
          widths, text));
    }
    refine_ = biased(width, width, 1);
    skip_ = biased(level, width, 1);
    join_ = biased(2 * width, options.channels, 3);
    auto up = sequential({{"1", up_conv_.ptr()}});
    if (up_norm_) up->register_module("2", up_norm_.module());
    register_module("up", sequential({{"up", sequential({{"up", up}})},
                                      {"layer", sequential({{"blocks", blocks_}})},
                                      {"conv_relu", sequential({{"0", refine_.ptr()}})}}));
    register_module("conv_relu", sequential({{"0", join_.ptr()}}));
    register_module("conv2", sequential({{"0", skip_.ptr()}}));
  }

  at::Tensor forward(const at::Tensor& below, const at::Tensor& level,
                     const at::Tensor& text) const {
    at::Tensor x = nn::resize_as(below, level, nn::ResizeMode::nearest);
    x = nn::activate_(up_norm_(nn::convolved(up_conv_, x)), nn::Activation::relu());
    at::Tensor tokens = nn::tokens_of(x);
    for (std::size_t i = 0; i < blocks_->size(); ++i) tokens = (*blocks_)[i]->forward(tokens, text);
    x = conv_relu(refine_, nn::map_of(tokens));
    return conv_relu(join_, at::cat({conv_relu(skip_, level), x}, 1));
  }

 private:
  mutable torch::nn::Conv2d up_conv_{nullptr};
  torch::nn::Conv2d refine_{nullptr}, skip_{nullptr}, join_{nullptr};
  nn::Norm up_norm_;
  std::shared_ptr<nn::LayerList<SwinTextBlock>> blocks_ =
      std::make_shared<nn::LayerList<SwinTextBlock>>();
};

/// The widths of "text.0", "text.1", … for as long as there are such extras.
std::vector<std::int64_t> text_widths(const FeatureSpec& input) {
  std::vector<std::int64_t> widths;
  for (;;) {
    const auto found = input.extras.find("text." + std::to_string(widths.size()));
    if (found == input.extras.end()) return widths;
    widths.push_back(found->second);
  }
}

}  // namespace

class SwinTextDecode final : public DenseHead {
 public:
  static void check(const SwinTextDecodeOptions& options, const Context& context) {
    const DenseHeadPlan plan = DenseHead::plan(options, context, Takes::several);
    for (std::size_t i = 1; i < plan.levels.size(); ++i) {
      if (plan.levels[i].stride >= plan.levels[i - 1].stride) continue;
      throw OptionError("in_index", fmt::format("levels must be listed from fine to coarse, got "
                                                "stride {} after {}",
                                                plan.levels[i].stride, plan.levels[i - 1].stride));
    }
    if (options.channels % (4 * options.num_heads) != 0 || options.channels % 2 != 0) {
      throw OptionError("channels", fmt::format("must be a multiple of 4 and of twice the number "
                                                "of heads, {}, got {}",
                                                options.num_heads, options.channels));
    }
    nn::Norm(options.channels / 2, options.norm);
    if (options.use_text.value_or(false) && text_widths(plan.necks.output).empty()) {
      throw OptionError("use_text",
                        "there are no text features to attend to, got true; leave it out, or use a "
                        "model with texts");
    }
  }
  static bool reads(const SwinTextDecodeOptions& options, const FeatureSpec& input,
                    const std::string& extra) {
    return DenseHead::reads(options, input, extra) ||
           (extra == "text" && options.use_text.value_or(true) &&
            !text_widths(plan_necks(options.neck, input).output).empty());
  }

  SwinTextDecode(const SwinTextDecodeOptions& options, const Context& context)
      : DenseHead(options, context, Takes::several) {
    check(options, context);
    if (options.use_text.value_or(true)) {
      const std::int64_t width = options.channels / 2;
      for (const std::int64_t text : text_widths(plan().necks.output)) {
        const torch::nn::Linear linear(text, width);
        const torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({width}));
        const auto date = static_cast<char>('A' + static_cast<int>(texts_.size()));
        register_module(std::string("linear") + date,
                        sequential({{"0", linear.ptr()}, {"1", norm.ptr()}}));
        texts_.emplace_back(linear, norm);
      }
    }
    const auto& levels = plan().levels;
    std::int64_t below = levels.back().channels;
    for (std::size_t i = steps(); i-- > 0;) {
      stages_.push_back(register_module(
          "layer" + std::to_string(stages_.size() + 1),
          std::make_shared<TextStage>(options, below, levels[i].channels, !texts_.empty())));
      below = options.channels;
    }
  }

 private:
  at::Tensor decode(const std::vector<at::Tensor>& inputs) override {
    return climb(inputs, at::Tensor());
  }
  /// Texts [N, K, E] of each date, of any number K.
  at::Tensor decode_features(const std::vector<at::Tensor>& inputs,
                             const Features& features) override {
    std::vector<at::Tensor> texts;
    for (std::size_t i = 0; i < texts_.size(); ++i) {
      const at::Tensor& text = features.extras.at("text." + std::to_string(i));
      auto& [linear, norm] = texts_[i];
      texts.push_back(norm->forward(linear->forward(text)));
    }
    return climb(inputs, texts.empty() ? at::Tensor() : at::cat(texts, 1));
  }

  /// Of a lone level, one step from itself to itself.
  std::size_t steps() const { return std::max<std::size_t>(plan().levels.size(), 2) - 1; }

  at::Tensor climb(const std::vector<at::Tensor>& inputs, const at::Tensor& text) const {
    at::Tensor x = inputs.back();
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      x = stages_[i]->forward(x, inputs[stages_.size() - 1 - i], text);
    }
    return x;
  }

  std::vector<std::pair<torch::nn::Linear, torch::nn::LayerNorm>> texts_;  // one a date
  std::vector<std::shared_ptr<TextStage>> stages_;
};

}  // namespace strata::heads

STRATA_COMPONENTS(heads_swin_text_decode) {
  using namespace heads;
  registry.add<Head, SwinTextDecode, SwinTextDecodeOptions>(
      "SwinTextDecode", "levels joined upwards by Swin blocks that attend to texts");
}
