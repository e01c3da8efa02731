// VLCD (Qiu et al., JSTARS 2025): a composition in which images meet texts between backbone and
// necks. With other options ChangeCLIP (Dong et al., ISPRS J. 2024), and of one date DenseCLIP (Rao
// et al., CVPR 2022).
#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <fmt/format.h>

#include "framework/base/log.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/resize.hpp"
#include "framework/nn/tokens.hpp"
#include "modules/context_decoder.hpp"
#include "modules/learnable_prompt.hpp"
#include "modules/text_encoder.hpp"
#include "segmentors/composition.hpp"

namespace strata::segmentors {

struct VlcdOptions : CompositionOptions {
  Slot<TextEncoder> text_encoder;
  Slot<ContextDecoder> context_decoder;
  modules::PromptOptions prompt;
  std::optional<bool> use_text;
  std::optional<std::int64_t> text_dim;
  bool freeze_text = true;
  double gamma_init = 1e-4;
  std::optional<std::int64_t> score_concat_index;
  std::string dates = "separate";
  std::int64_t num_dates = 2;
  static auto fields() {
    using config::field;
    using O = VlcdOptions;
    return config::join(
        CompositionOptions::fields(),
        field("text_encoder", &O::text_encoder, "texts into features beside the images'")
            .required(),
        field("context_decoder", &O::context_decoder,
              "has texts look at the image; left out: every image has the same features of a text"),
        field("prompt", &O::prompt, "the texts, and learned vectors among their words")
            .alias("learnable_prompt"),
        field(
            "use_text", &O::use_text,
            "texts join the images' features; false: the parts for texts stay, so that their keys "
            "and weights still fit, but are neither computed nor trained; default: where a neck, "
            "a head or the score map reads them"),
        field("text_dim", &O::text_dim, "width of a text's feature; derived"),
        field("freeze_text", &O::freeze_text,
              "the text encoder does not learn; gradients pass through it to the learned vectors"),
        field("gamma_init", &O::gamma_init,
              "learned weight of what the context decoder gives, of each channel: its initial "
              "value"),
        field("score_concat_index", &O::score_concat_index,
              "level that the images' likeness to each text is appended to as channels, negative "
              "from the coarsest; left out: none"),
        field("dates", &O::dates,
              "batch norm while training: statistics of each date by itself, one after the other; "
              "or of all dates as one batch, which is faster")
            .one_of({"separate", "joint"}),
        field("num_dates", &O::num_dates, "images a sample has").at_least(1));
  }
};

namespace {

std::size_t score_level(const VlcdOptions& options, const FeatureSpec& spec) {
  const auto count = static_cast<std::int64_t>(spec.levels.size());
  const std::int64_t index = *options.score_concat_index;
  if (index < -count || index >= count) {
    throw OptionError("score_concat_index",
                      fmt::format("there are {} levels ({}), got {}", count, spec.str(), index));
  }
  return static_cast<std::size_t>(index < 0 ? index + count : index);
}

constexpr const char* kExtra = "text";

/// The backbone's features once texts have joined them: "text" at every date, the score's channels.
FeatureSpec with_texts(const VlcdOptions& options, FeatureSpec spec) {
  const TextSpec text = options.text_encoder.ask(&TextEncoder::Statics::output);
  try {
    modules::LearnablePrompt::check(options.prompt, text);
  } catch (const OptionError& error) {
    throw OptionError("prompt." + error.key(), error.what());
  }
  for (const char* name : {"global", "dense"}) {
    const auto extra = spec.extras.find(name);
    if (extra == spec.extras.end()) {
      throw OptionError("backbone",
                        fmt::format("must give images' embeddings beside texts (\"global\", "
                                    "\"dense\"), got levels {} alone; take a tower of CLIP, or "
                                    "SideFusionCLIP around one",
                                    spec.str()));
    }
    if (extra->second != text.width) {
      throw OptionError("text_encoder", fmt::format("its features must have the width of the "
                                                    "image tower's, {}, got {}",
                                                    extra->second, text.width));
    }
  }
  if (options.text_dim && *options.text_dim != text.width) {
    throw OptionError("text_dim", fmt::format("the text encoder gives {}, got {}; leave it out to "
                                              "have it derived",
                                              text.width, *options.text_dim));
  }
  if (options.context_decoder) {
    options.context_decoder.ask(&ContextDecoder::Statics::check,
                                ContextDecoder::Context{text.width});
  }
  spec.extras[kExtra] = text.width;
  if (options.score_concat_index) {
    spec.levels[score_level(options, spec)].channels +=
        static_cast<std::int64_t>(options.prompt.texts.size());
  }
  return spec;
}

FeatureStep step_of(const VlcdOptions& options, bool texts) {
  if (!texts) return {};
  return [&options](FeatureSpec spec) { return with_texts(options, std::move(spec)); };
}

/// Walks the shapes; whether texts join the features. Throws ConfigError, or OptionError.
bool texts_join(const VlcdOptions& options, const Segmentor::Context& context) {
  const bool texts = options.use_text.value_or(true);
  if (options.score_concat_index && !texts) {
    throw OptionError(
        "score_concat_index",
        fmt::format("is a likeness to texts, got {} beside use_text = false; leave one "
                    "of them out",
                    *options.score_concat_index));
  }
  const CompositionPlan plan =
      Composition::plan(options, context, options.num_dates, step_of(options, texts));
  if (!texts || options.score_concat_index) return texts;
  bool read = reads(options.neck, plan.necks, kExtra);
  const auto heads = [&](const std::vector<Slot<Head>>& slots,
                         const std::vector<Head::Context>& contexts) {
    for (std::size_t i = 0; i < slots.size(); ++i) {
      read = read || slots[i].ask(&Head::Statics::reads, contexts[i].input, kExtra);
    }
  };
  heads(options.decode_head, plan.decode_heads);
  heads(options.auxiliary_head, plan.auxiliary_heads);
  if (!read && options.use_text) {
    throw OptionError("use_text",
                      "no neck and no head reads the texts, got true; take a CFC or a "
                      "SwinTextDecode, give score_concat_index, or leave it out");
  }
  return read;
}

/// Vectors along `dim` at unit length.
at::Tensor unit(const at::Tensor& x, std::int64_t dim) {
  return x / at::linalg_vector_norm(x, 2, {dim}, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace

/// Parameters `text_encoder.`, `context_decoder.`, `learnable_prompt.ctx`, `gamma` beside a
/// composition's. Where nothing reads texts these are constants without a use.
class Vlcd final : public Composition {
 public:
  static void check(const VlcdOptions& options, const Context& context) {
    if (texts_join(options, context) || options.use_text) return;
    const Problem told = options.text_encoder.problem(
        "",
        "no neck and no head reads the texts: they are left out, and nothing of them is trained; "
        "take a CFC or a SwinTextDecode, give score_concat_index, or say that it is meant: "
        "use_text = false");
    log::warning("{}", told.str());
  }
  static std::int64_t dates_of(const VlcdOptions& options) { return options.num_dates; }

  Vlcd(const VlcdOptions& options, const Context& context)
      : Composition(options, context, options.num_dates, options.dates == "joint",
                    step_of(options, texts_join(options, context))),
        texts_(texts_join(options, context)),
        freeze_text_(options.freeze_text || !texts_) {
    const TextSpec spec = options.text_encoder.ask(&TextEncoder::Statics::output);
    text_encoder_ = register_module("text_encoder", options.text_encoder.build({}));
    try {
      prompt_ = std::make_shared<modules::LearnablePrompt>(options.prompt, text_encoder_, spec);
    } catch (const OptionError& error) {
      throw OptionError("prompt." + error.key(), error.what());
    }
    register_module("learnable_prompt", prompt_);
    if (options.context_decoder) {
      context_decoder_ =
          register_module("context_decoder", options.context_decoder.build({spec.width}));
      gamma_ = register_parameter("gamma", at::full({spec.width}, options.gamma_init));
    }
    if (options.score_concat_index) {
      const FeatureSpec levels = options.backbone.ask(&Backbone::Statics::output,
                                                      FeatureSpec::image(context.image_channels));
      score_level_ = score_level(options, levels);
    }
    if (freeze_text_) {
      nn::set_unused(*text_encoder_);
      text_encoder_->eval();
    }
    if (texts_) return;
    nn::set_unused(*prompt_);
    if (context_decoder_) {
      nn::set_unused(*context_decoder_);
      gamma_.set_requires_grad(false);
    }
  }

  void train(bool on = true) override {
    Composition::train(on);
    if (freeze_text_) text_encoder_->eval();
  }

 private:
  DateFeatures after_backbone(DateFeatures features, const Batch& batch) override {
    if (!texts_) return features;
    const std::int64_t dates = this->dates(), n = features.front().levels.front().size(0);
    // All dates as one batch: nothing here looks from one sample to another.
    std::vector<std::vector<std::string>> tags(static_cast<std::size_t>(dates * n));
    for (std::size_t i = 0; i < batch.meta.size(); ++i) {
      const auto& own = batch.meta[i].tags;
      for (std::size_t d = 0; d < std::min(own.size(), features.size()); ++d) {
        tags[d * static_cast<std::size_t>(n) + i] = own[d];
      }
    }
    at::Tensor text = prompt_->forward(tags);  // [D * N, K, E]
    const auto joined = [&](const char* name) {
      std::vector<at::Tensor> of_dates;
      for (const Features& date : features) of_dates.push_back(date.extras.at(name));
      return of_dates.size() == 1 ? of_dates.front() : at::cat(of_dates);
    };
    const at::Tensor dense = joined("dense");
    const at::Tensor places = nn::tokens_of(dense).flatten(1, 2);  // [D * N, h * w, E]
    if (context_decoder_) {
      const at::Tensor visual = at::cat({joined("global").unsqueeze(1), places}, 1);
      text = text + gamma_ * context_decoder_->forward(text, visual);
    }
    const auto texts = text.chunk(dates, 0);
    for (std::size_t d = 0; d < features.size(); ++d) {
      record(date_name("text", d), texts[d]);
      features[d].extras[kExtra] = texts[d];
    }
    if (!score_level_) return features;
    const at::Tensor score = at::bmm(unit(places, 2), unit(text, 2).transpose(1, 2))
                                 .view({dense.size(0), dense.size(2), dense.size(3), text.size(1)});
    const auto scores = nn::map_of(score).chunk(dates, 0);
    for (std::size_t d = 0; d < features.size(); ++d) {
      record(date_name("score", d), scores[d]);
      at::Tensor& level = features[d].levels[*score_level_];
      level = at::cat({level, nn::resize_as(scores[d], level)}, 1);
    }
    return features;
  }

  std::string date_name(const char* name, std::size_t date) const {
    return dates() == 1 ? name : name + ("." + std::to_string(date));
  }

  bool texts_;  // join the features
  bool freeze_text_;
  std::shared_ptr<TextEncoder> text_encoder_;
  std::shared_ptr<modules::LearnablePrompt> prompt_;
  std::shared_ptr<ContextDecoder> context_decoder_;  // may be null
  at::Tensor gamma_;                                 // beside context_decoder_
  std::optional<std::size_t> score_level_;
};

}  // namespace strata::segmentors

STRATA_COMPONENTS(segmentors_vlcd) {
  using namespace segmentors;
  registry.add<Segmentor, Vlcd, VlcdOptions>(
      "VLCD", "images meet texts between backbone and necks: VLCD, ChangeCLIP, DenseCLIP");
}
