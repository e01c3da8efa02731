// Learned prompts (CoOp, Zhou et al., IJCV 2022): vectors among the words of a text, in front of a
// text tower that need not learn.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"
#include "framework/io/adapts_weights.hpp"
#include "modules/text_encoder.hpp"

namespace strata::modules {

struct PromptOptions {
  std::vector<std::string> texts = {"remote sensing image background objects",
                                    "remote sensing image foreground objects"};
  std::vector<std::int64_t> tagged = {1};
  std::int64_t max_tags = 9;
  std::optional<std::int64_t> n_ctx;
  std::string ctx_init;
  std::string init = "normal";
  std::optional<double> init_std;
  bool csc = false;
  std::string position = "end";
  static auto fields() {
    using config::field;
    using O = PromptOptions;
    return std::tuple{
        field("texts", &O::texts, "what is looked for, one text a class; the background first")
            .not_empty()
            .one_or_many(),
        field("tagged", &O::tagged,
              "numbers of the texts that a sample's scene tags are appended to; [] for none")
            .one_or_many(),
        field("max_tags", &O::max_tags, "how many tags are appended at most").at_least(0),
        field("n_ctx", &O::n_ctx,
              "learned vectors; 0: none; default: 16, or the tokens of ctx_init")
            .at_least(0),
        field("ctx_init", &O::ctx_init,
              "a phrase whose tokens the learned vectors begin as, once [init] has loaded the text "
              "encoder"),
        field("init", &O::init, "distribution of their first values, without ctx_init")
            .one_of({"normal", "trunc_normal"}),
        field("init_std", &O::init_std,
              "its deviation; default: 0.02, or 1 of trunc_normal, which is cut at 2 either way")
            .above(0),
        field("csc", &O::csc, "vectors of its own for every class"),
        field("position", &O::position,
              "where the words are: behind the vectors, in their middle or in front of them")
            .one_of({"end", "middle", "front"})};
  }
};

/// Turns texts and a sample's tags into features, each distinct text once. The parameter `ctx`
/// [n_ctx, token_width] (of csc [K, n_ctx, token_width]) does not exist with n_ctx = 0. Gradients
/// reach it through the text encoder; where nothing wants one, features are kept until a parameter
/// changes.
class STRATA_API LearnablePrompt final : public torch::nn::Module, public io::AdaptsWeights {
 public:
  /// Of options alone. Throws OptionError.
  static void check(const PromptOptions& options, const TextSpec& spec);

  /// The encoder belongs to the caller, who registers it. Throws OptionError.
  LearnablePrompt(const PromptOptions& options, std::shared_ptr<TextEncoder> encoder,
                  const TextSpec& spec);

  /// Tags of R images -> features [R, K, width], not normalised. Texts that are too long lose tags,
  /// which is warned of once.
  at::Tensor forward(const std::vector<std::vector<std::string>>& tags);
  std::int64_t classes() const { return static_cast<std::int64_t>(options_.texts.size()); }

  /// Embeds `ctx_init` by the weights that the text encoder has now, unless the learned vectors
  /// have been loaded or trained themselves.
  void weights_loaded() override;

  /// A shared `ctx` of other models has more dimensions ([1, 1, n_ctx, width]).
  at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                          const at::Tensor& loaded) const override;

  /// Texts that went through the text encoder so far.
  std::int64_t encoded() const { return encoded_; }

 private:
  /// A text of class k; k is 0 where all classes share their vectors.
  using Key = std::pair<std::int64_t, std::string>;

  const std::vector<std::int64_t>& tokens(const std::string& text);
  std::string text_of(std::size_t k, const std::vector<std::string>& tags);
  at::Tensor encode(const std::vector<Key>& keys);
  at::Tensor encode_kept(const std::vector<Key>& keys);
  bool wants_gradient() const;
  std::vector<std::uint64_t> state() const;

  PromptOptions options_;
  TextSpec spec_;
  std::shared_ptr<TextEncoder> encoder_;
  std::int64_t n_ctx_ = 0;
  at::Tensor ctx_;
  std::uint32_t fresh_version_ = 0;
  std::int64_t full_stop_ = -1;  // the token "."
  bool warned_ = false;
  std::int64_t encoded_ = 0;
  std::map<std::string, std::vector<std::int64_t>> tokens_;
  std::map<Key, at::Tensor> kept_;
  std::vector<std::uint64_t> kept_state_;  // of everything that `kept_` was made from
};

}  // namespace strata::modules
