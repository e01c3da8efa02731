// The text tower of CLIP (Radford et al., ICML 2021), which takes learned vectors among the words
// (DenseCLIP, Rao et al., CVPR 2022). Names of parameters as in OpenAI's archives.
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <fmt/format.h>
#include <torch/nn/modules/embedding.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "framework/io/adapts_weights.hpp"
#include "framework/nn/clip_block.hpp"
#include "framework/nn/init.hpp"
#include "modules/clip_tokenizer.hpp"
#include "modules/text_encoder.hpp"

namespace strata::modules {
namespace {

struct ClipTextOptions {
  std::int64_t context_length = 77;
  std::optional<config::Path> vocabulary;
  std::optional<std::int64_t> vocab_size;
  std::int64_t transformer_width = 512;
  std::int64_t transformer_heads = 8;
  std::int64_t transformer_layers = 12;
  std::int64_t embed_dim = 512;

  static auto fields() {
    using config::field;
    using O = ClipTextOptions;
    return std::tuple{
        field("context_length", &O::context_length,
              "positions, for tokens and learned context together")
            .at_least(3),
        field("vocabulary", &O::vocabulary,
              "file of merges, plain or in gzip; left out: CLIP's own, which tools/setup --clip "
              "fetches"),
        field("vocab_size", &O::vocab_size, "tokens; left out: as many as the vocabulary has")
            .at_least(1),
        field("transformer_width", &O::transformer_width, "channels of a token").at_least(1),
        field("transformer_heads", &O::transformer_heads, "heads of attention").at_least(1),
        field("transformer_layers", &O::transformer_layers, "blocks").at_least(1),
        field("embed_dim", &O::embed_dim,
              "channels of a text's feature: 512 beside ViT-B and RN101, 1024 beside RN50, 768 "
              "beside ViT-L/14")
            .at_least(1)};
  }

  std::string vocabulary_file() const {
    return vocabulary ? vocabulary->resolved : default_clip_vocabulary();
  }
};

class CLIPTextContextEncoder final : public TextEncoder, public io::AdaptsWeights {
 public:
  CLIPTextContextEncoder(const ClipTextOptions& options, const Context&)
      : tokenizer_(checked(options).vocabulary_file()) {
    const std::int64_t width = options.transformer_width;
    if (options.vocab_size && *options.vocab_size != tokenizer_.size()) {
      throw OptionError("vocab_size", fmt::format("is not that of {}, which has {} tokens, got {}",
                                                  options.vocabulary_file(), tokenizer_.size(),
                                                  *options.vocab_size));
    }
    transformer_ = register_module(
        "transformer", std::make_shared<nn::ClipTransformer>(width, options.transformer_heads,
                                                             options.transformer_layers));
    token_embedding_ =
        register_module("token_embedding", torch::nn::Embedding(tokenizer_.size(), width));
    positional_embedding_ =
        register_parameter("positional_embedding", at::empty({options.context_length, width}));
    ln_final_ = register_module("ln_final",
                                torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
    text_projection_ =
        register_parameter("text_projection", at::empty({width, options.embed_dim}));
    nn::normal_(token_embedding_->weight, 0, 0.02);
    nn::normal_(positional_embedding_, 0, 0.01);
    nn::normal_(text_projection_, 0, std::pow(static_cast<double>(width), -0.5));
    for (std::size_t i = 0; i < transformer_->size(); ++i) {
      (*transformer_)[i].init_as_text(options.transformer_layers);
    }
  }

  static TextSpec output(const ClipTextOptions& options) {
    if (options.transformer_width % options.transformer_heads != 0) {
      throw OptionError("transformer_heads",
                        fmt::format("must divide transformer_width = {}, got {}",
                                    options.transformer_width, options.transformer_heads));
    }
    if (!std::filesystem::exists(options.vocabulary_file())) {
      const char* cure = options.vocabulary ? "" : "; tools/setup --clip fetches it";
      throw OptionError("vocabulary", fmt::format("is no file, got \"{}\"{}",
                                                  options.vocabulary_file(), cure));
    }
    return {.length = options.context_length,
            .token_width = options.transformer_width,
            .width = options.embed_dim};
  }

  std::vector<std::int64_t> tokenize(const std::string& text, std::int64_t length) const override {
    return tokenizer_.tokenize(text, length);
  }

  at::Tensor embed(const at::Tensor& ids) override {
    return at::embedding(token_embedding_->weight, ids);
  }

  at::Tensor forward(const at::Tensor& embeddings, const at::Tensor& ends) override {
    TORCH_CHECK(embeddings.dim() == 3 && embeddings.size(1) <= positional_embedding_.size(0) &&
                    ends.dim() == 1 && ends.size(0) == embeddings.size(0),
                "texts of at most ", positional_embedding_.size(0),
                " positions and an end each, got ", embeddings.sizes(), " and ", ends.sizes());
    // No token sees a later one: what stands behind the last end mark changes no feature.
    const std::int64_t length = ends.max().item<std::int64_t>() + 1;
    at::Tensor x =
        embeddings.narrow(1, 0, length) + positional_embedding_.narrow(0, 0, length);
    for (std::size_t i = 0; i < transformer_->size(); ++i) {
      x = (*transformer_)[i].forward(x, /*causal=*/true);
    }
    x = x.index({at::arange(x.size(0), ends.options()), ends});
    return at::matmul(ln_final_->forward(x), text_projection_);
  }

  /// Archives may have more positions than are wanted: the first ones serve.
  at::Tensor adapt_weight(const std::string& name, const at::Tensor& own,
                          const at::Tensor& loaded) const override {
    const bool longer = name == "positional_embedding" && loaded.dim() == 2 &&
                        loaded.size(0) > own.size(0) && loaded.size(1) == own.size(1);
    return longer ? loaded.narrow(0, 0, own.size(0)) : at::Tensor();
  }

 private:
  static const ClipTextOptions& checked(const ClipTextOptions& options) {
    output(options);
    return options;
  }

  ClipTokenizer tokenizer_;
  std::shared_ptr<nn::ClipTransformer> transformer_;
  torch::nn::Embedding token_embedding_{nullptr};
  at::Tensor positional_embedding_, text_projection_;
  torch::nn::LayerNorm ln_final_{nullptr};
};

}  // namespace
}  // namespace strata::modules

STRATA_COMPONENTS(modules_clip_text_encoder) {
  using namespace strata::modules;
  registry.add<strata::TextEncoder, CLIPTextContextEncoder, ClipTextOptions>(
      "CLIPTextContextEncoder", "text tower of CLIP, for words with learned vectors among them");
}
