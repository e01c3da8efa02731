// CLIP's text tower against open_clip (tests/parity/clip_towers.py), and what it saves itself.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "modules/clip_tokenizer.hpp"
#include "modules/text_encoder.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata {
namespace {

const std::string kTinyVocabulary =
    "vocabulary = '" STRATA_SOURCE_DIR "/tests/data/clip/vocabulary.txt'\n";

std::shared_ptr<TextEncoder> text_encoder(const std::string& options, TextSpec* spec = nullptr) {
  const auto slot = tests::bind_slot<TextEncoder>(
      "[model.text_encoder]\ntype = 'CLIPTextContextEncoder'\n" + options, "model.text_encoder");
  if (spec != nullptr) *spec = slot.ask(&TextEncoder::Statics::output);
  return slot.build(TextEncoder::Context{});
}

const std::string kNarrow =
    kTinyVocabulary + "transformer_width = 32\ntransformer_heads = 2\ntransformer_layers = 2\n";

std::int64_t count_parameters(const torch::nn::Module& module) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

TEST(ClipTextEncoder, EqualsOpenClip) {
  tests::parity::check_component("clip_text_narrow", [](const tests::parity::Case& fixture) {
    const auto slot =
        tests::bind_slot<TextEncoder>(fixture.strata + kTinyVocabulary, "model.text_encoder");
    const auto encoder = slot.build(TextEncoder::Context{});
    const auto forward = [encoder](const std::vector<at::Tensor>& inputs) {
      const at::Tensor ends = at::tensor({11, 4, 8}, at::kLong);
      return TensorMap{{"feat.0", encoder->forward(inputs.at(0), ends)}};
    };
    return std::pair<std::shared_ptr<torch::nn::Module>, tests::parity::Forward>(encoder, forward);
  });
}

TEST(ClipTextEncoder, HasClipsParameters) {
  const std::string path = modules::default_clip_vocabulary();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing: tools/setup --clip";
  TextSpec spec;
  EXPECT_EQ(count_parameters(*text_encoder("embed_dim = 1024\n", &spec)), 63690240);
  EXPECT_EQ(spec, (TextSpec{.length = 77, .token_width = 512, .width = 1024}));
  EXPECT_EQ(count_parameters(*text_encoder("embed_dim = 512\n")), 63428096);
}

TEST(ClipTextEncoder, NeedsNothingBehindTheEndOfATextAndNothingSeesIt) {
  const at::NoGradGuard no_grad;
  const auto encoder = text_encoder(kNarrow);
  const at::Tensor embeddings = at::randn({2, 20, 32});
  const at::Tensor ends = at::tensor({4, 9}, at::kLong);
  const at::Tensor features = encoder->forward(embeddings, ends);
  const at::Tensor shorter = encoder->forward(embeddings.narrow(1, 0, 10), ends);
  EXPECT_TRUE(at::equal(features, shorter));
  at::Tensor other = embeddings.clone();
  other.narrow(1, 10, 10).normal_();
  EXPECT_TRUE(at::equal(features, encoder->forward(other, ends)));
  other = embeddings.clone();
  other.select(1, 9).normal_();  // adding a constant would not do: norms take it away
  const at::Tensor changed = encoder->forward(other, ends);
  EXPECT_TRUE(at::allclose(features[0], changed[0], 0, 1e-6));  // its end comes before
  EXPECT_FALSE(at::allclose(features[1], changed[1], 0, 1e-6));
}

TEST(ClipTextEncoder, LearnsContextWhileItIsFrozen) {
  const auto encoder = text_encoder(kNarrow);
  for (at::Tensor& parameter : encoder->parameters()) parameter.set_requires_grad(false);
  at::Tensor context = at::randn({4, 32}).requires_grad_();
  const at::Tensor words = encoder->embed(at::tensor({712, 535, 713}, at::kLong));
  const at::Tensor text = at::cat({words.narrow(0, 0, 1), context, words.narrow(0, 1, 2)});
  encoder->forward(text.unsqueeze(0), at::tensor({6}, at::kLong)).square().sum().backward();
  EXPECT_GT(context.grad().abs().min().item<double>(), 0);
  for (const at::Tensor& parameter : encoder->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST(ClipTextEncoder, BeginsAsClipDoes) {
  const auto encoder = text_encoder(kTinyVocabulary + "transformer_width = 256\n"
                                                      "transformer_layers = 2\n");
  const auto deviation = [&](const std::string& name) {
    return encoder->named_parameters()[name].std().item<double>();
  };
  const double std = 1 / std::sqrt(256.0);
  EXPECT_NEAR(deviation("token_embedding.weight"), 0.02, 0.001);
  EXPECT_NEAR(deviation("positional_embedding"), 0.01, 0.001);
  EXPECT_NEAR(deviation("text_projection"), std, 0.05 * std);
  EXPECT_NEAR(deviation("transformer.resblocks.1.attn.in_proj_weight"), std, 0.05 * std);
  EXPECT_NEAR(deviation("transformer.resblocks.1.attn.out_proj.weight"), std / 2, 0.05 * std);
  EXPECT_NEAR(deviation("transformer.resblocks.0.mlp.c_fc.weight"), std / std::sqrt(2.0),
              0.05 * std);
  EXPECT_NEAR(deviation("transformer.resblocks.0.mlp.c_proj.weight"), std / 2, 0.05 * std);
}

TEST(ClipTextEncoder, SaysWhatIsWrongWithItsOptions) {
  const auto error_of = [](const std::string& options) {
    return tests::message_of([&] { text_encoder(options); });
  };
  EXPECT_NE(error_of(kTinyVocabulary + "vocab_size = 49408\n")
                .find("vocabulary.txt, which has 714 tokens, got 49408"),
            std::string::npos);
  EXPECT_NE(error_of("vocabulary = 'none.txt'\n").find("vocabulary: is no file, got "),
            std::string::npos);
  EXPECT_NE(error_of(kTinyVocabulary + "transformer_heads = 7\n")
                .find("transformer_heads: must divide transformer_width = 512, got 7"),
            std::string::npos);
}

}  // namespace
}  // namespace strata
