// VLCD and its like over small stand-ins for CLIP: what is frozen and what learns, prompts and
// their cache, and that parts can be exchanged.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <sstream>

#include "backbones/backbone.hpp"
#include "backbones/key_maps.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/weights.hpp"
#include "modules/learnable_prompt.hpp"
#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/synthetic.hpp"

namespace strata::tests::vlcd {
namespace {

constexpr std::int64_t kText = 16;  // width of a text's feature

// Channels are multiples of eight: oneDNN's AVX2 kernel for the weights of 1x1 convolutions writes
// beyond fewer (LibTorch 2.11).
// A trunk with batch norm, and one new convolution on its first level.
struct Tower final : TrunkBackbone {
  static FeatureSpec output(const NoOptions&, const FeatureSpec&) {
    FeatureSpec spec = levels_of({8, 16, 16, 24});
    spec.extras = {{"global", kText}, {"dense", kText}};
    return spec;
  }
  Tower(const NoOptions&, const Context& context) {
    std::int64_t in = context.input.levels[0].channels;
    for (const std::int64_t out : {8, 16, 16, 24}) {
      const std::int64_t stride = convs.empty() ? 4 : 2;
      const std::string number = std::to_string(convs.size());
      convs.push_back(register_module(
          "conv" + number,
          torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, stride).stride(stride))));
      norms.push_back(register_module("bn" + number, torch::nn::BatchNorm2d(out)));
      in = out;
    }
    proj = register_module("proj", torch::nn::Conv2d(torch::nn::Conv2dOptions(in, kText, 1)));
    fpn1 = register_module("fpn1", torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 8, 1)));
  }
  Features trunk(const at::Tensor& images) override {
    ++runs;
    batch = images.size(0);
    recorded = at::GradMode::is_enabled();
    Features features;
    at::Tensor x = images;
    for (std::size_t i = 0; i < convs.size(); ++i) {
      x = at::relu(norms[i]->forward(convs[i]->forward(x)));
      features.levels.push_back(x);
    }
    const at::Tensor dense = proj->forward(x);
    features.extras = {{"dense", dense}, {"global", dense.mean({2, 3})}};
    return features;
  }
  Features finish(Features trunk, std::int64_t, std::int64_t) override {
    trunk.levels[0] = fpn1->forward(trunk.levels[0]);
    return trunk;
  }
  std::vector<std::string> new_parts() const override { return {"fpn1"}; }

  std::vector<torch::nn::Conv2d> convs;
  std::vector<torch::nn::BatchNorm2d> norms;
  torch::nn::Conv2d proj{nullptr}, fpn1{nullptr};
  int runs = 0;
  std::int64_t batch = 0;
  bool recorded = false;
};

struct WordsOptions {
  std::int64_t length = 20;
  static auto fields() {
    return std::tuple{config::field("length", &WordsOptions::length, "positions")};
  }
};

// A word is the sum of its letters; ids 1 and 2 are the marks. What is behind the end mark does not
// count, and places do.
struct Words final : TextEncoder {
  static TextSpec output(const WordsOptions& options) { return {options.length, 6, kText}; }
  Words(const WordsOptions& options, const Context&)
      : embedding(register_module("token_embedding", torch::nn::Embedding(50, 6))),
        proj(register_module("proj", torch::nn::Linear(6, kText))),
        places(register_parameter("places", at::randn({options.length, 6}))) {}

  std::vector<std::int64_t> tokenize(const std::string& text, std::int64_t length) const override {
    std::vector<std::int64_t> ids = {1};
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      std::int64_t sum = 0;
      for (const char c : word) sum += static_cast<unsigned char>(c);
      ids.push_back(3 + sum % 47);
    }
    ids.push_back(2);
    if (static_cast<std::int64_t>(ids.size()) > length) throw DataError("text is too long");
    return ids;
  }
  at::Tensor embed(const at::Tensor& ids) override { return embedding->forward(ids); }
  at::Tensor forward(const at::Tensor& embeddings, const at::Tensor& ends) override {
    given = embeddings.detach().clone();
    end = ends.clone();
    const std::int64_t length = embeddings.size(1);
    const at::Tensor seen = at::arange(length).unsqueeze(0).le(ends.unsqueeze(1)).unsqueeze(2);
    const at::Tensor x = at::tanh(embeddings * places.narrow(0, 0, length)) * seen;
    return proj->forward(x.sum(1));
  }
  torch::nn::Embedding embedding;
  torch::nn::Linear proj;
  at::Tensor places;
  at::Tensor given, end;
};

const Registry& registry() {
  static const Registry* made = [] {
    auto* own = new Registry;
    register_builtin_components(*own);
    own->add<Backbone, Tower, NoOptions>("Tower", "a small tower, for tests");
    own->add<TextEncoder, Words, WordsOptions>("Words", "a small text encoder, for tests");
    return own;
  }();
  return *made;
}

const LabelSpecs kChange = [] {
  config::Named<LabelSpec> named;
  named.emplace_back("change", label_of("change", 2, "change"));
  return LabelSpecs(std::move(named));
}();

Slot<Segmentor> model_slot(const std::string& toml) {
  return bind_slot<Segmentor>("[model]\n" + toml, "model", registry());
}
std::shared_ptr<Segmentor> build(const std::string& toml) {
  return model_slot(toml).build({kChange, 3});
}
std::string error_of(const std::string& toml) {
  return message_of([&] {
    model_slot(toml).ask(&Segmentor::Statics::check, Segmentor::Context{kChange, 3});
  });
}

// A model as TOML lines that tests replace by name.
struct Recipe {
  std::map<std::string, std::string> lines = {
      {"type", "\"VLCD\""},
      {"backbone",
       "{type = \"SideFusionCLIP\", clip = {type = \"Tower\"}, rs_backbone = {type = \"ResNet\", "
       "depth = 18, base_channels = 8}, bridge = {type = \"dot\"}}"},
      {"text_encoder", "{type = \"Words\"}"},
      {"context_decoder", "{type = \"ContextDecoder\", width = 8, heads = 2, layers = 1}"},
      {"prompt", "{n_ctx = 4, texts = [\"open land\", \"a building\"]}"},
      {"neck", "[{type = \"CFC\", out_channels = 8}, {type = \"FPN\", out_channels = 8}]"},
      {"decode_head", "{type = \"FPNHead\", channels = 8, norm = {type = \"GN\", groups = 4}}"}};
  Recipe with(const std::string& key, const std::string& value) const {
    Recipe other = *this;
    other.lines[key] = value;
    return other;
  }
  std::string str() const {
    std::string text;
    for (const auto& [key, value] : lines) text += key + " = " + value + "\n";
    return text;
  }
};

Batch batch_of(std::int64_t n = 2, std::int64_t size = 64) {
  Batch batch = synthetic_batch(kChange, 2, 3, n, size, size);
  batch.meta.resize(static_cast<std::size_t>(n));
  for (auto& meta : batch.meta) meta.tags = {{"road", "lake"}, {"road"}};
  return batch;
}

template <class Module>
Module& part(Segmentor& model, const std::string& path) {
  return dynamic_cast<Module&>(*model.named_modules()[path]);
}

modules::LearnablePrompt& prompt_of(Segmentor& model) {
  return part<modules::LearnablePrompt>(model, "learnable_prompt");
}

at::Tensor logits(Segmentor& model, const Batch& batch) {
  const at::NoGradGuard no_grad;
  return model.predict(batch)[0].second.data;
}

TEST(Vlcd, TrainsAllButTheFrozenTowers) {
  const auto model = build(Recipe().str());
  const auto& tower = part<Tower>(*model, "backbone.clip");
  std::map<std::string, at::Tensor> before;
  for (const auto& item : tower.named_buffers()) before[item.key()] = item.value().clone();
  TrainContext context;
  for (int step = 0; step < 3; ++step) {
    model->train();
    model->train_step(batch_of(), context);
  }
  const auto parameters = model->named_parameters();
  for (const auto& item : parameters) {
    EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key();
    const bool frozen =
        item.key().starts_with("text_encoder.") || (item.key().starts_with("backbone.clip.") &&
                                                    !item.key().starts_with("backbone.clip.fpn1."));
    EXPECT_EQ(item.value().requires_grad(), !frozen) << item.key();
  }
  for (const char* name : {"learnable_prompt.ctx", "gamma", "backbone.clip.fpn1.weight",
                           "backbone.rs_backbone.conv1.weight", "backbone.bridging_modules.3.alpha",
                           "context_decoder.text_proj.1.weight", "neck.0.text_proj.0.0.weight",
                           "neck.1.fpn_convs.0.conv.weight", "decode_head.conv_seg.weight"}) {
    EXPECT_GT(parameters[name].grad().abs().sum().item<float>(), 0) << name;
  }
  for (const auto& item : tower.named_buffers()) {
    EXPECT_TRUE(at::equal(item.value(), before[item.key()])) << item.key();
  }
  EXPECT_FALSE(tower.is_training());
  EXPECT_TRUE(tower.fpn1->is_training());
}

TEST(Vlcd, RunsFrozenTowersOnceAndTheSideDateByDate) {
  const auto model = build(Recipe().str());
  const auto& tower = part<Tower>(*model, "backbone.clip");
  const auto& norm = part<torch::nn::BatchNorm2dImpl>(*model, "backbone.rs_backbone.bn1");
  TrainContext context;
  model->train_step(batch_of(3), context);
  EXPECT_EQ(tower.runs, 1);
  EXPECT_EQ(tower.batch, 6);
  EXPECT_FALSE(tower.recorded);
  EXPECT_EQ(norm.num_batches_tracked.item<std::int64_t>(), 2);

  const auto thawed =
      build(Recipe()
                .with("backbone",
                      "{type = \"SideFusionCLIP\", clip = {type = \"Tower\"}, freeze_clip = false, "
                      "rs_backbone = {type = \"ResNet\", depth = 18, base_channels = 8}, "
                      "bridge = {type = \"mha\", heads = 2}}")
                .with("freeze_text", "false")
                .str());
  const auto& trained = part<Tower>(*thawed, "backbone.clip");
  thawed->train_step(batch_of(3), context);
  EXPECT_EQ(trained.runs, 2);
  EXPECT_TRUE(trained.recorded);
  EXPECT_EQ(trained.norms[0]->num_batches_tracked.item<std::int64_t>(), 2);
  for (const auto& item : thawed->named_parameters()) {
    EXPECT_TRUE(item.value().grad().defined()) << item.key();
  }
}

// Trained on the same images, a frozen tower must give what it gives when nothing is frozen.
TEST(Vlcd, FreezingChangesNoResult) {
  const auto frozen = build(Recipe().str());
  const auto thawed =
      build(Recipe()
                .with("backbone",
                      "{type = \"SideFusionCLIP\", clip = {type = \"Tower\"}, freeze_clip = false, "
                      "rs_backbone = {type = \"ResNet\", depth = 18, base_channels = 8}, "
                      "bridge = {type = \"dot\"}}")
                .with("freeze_text", "false")
                .str());
  {
    const at::NoGradGuard no_grad;
    const auto from = frozen->named_parameters();
    for (auto& item : thawed->named_parameters()) item.value().copy_(from[item.key()]);
  }
  frozen->eval();
  thawed->eval();
  EXPECT_TRUE(at::equal(logits(*frozen, batch_of()), logits(*thawed, batch_of())));
}

TEST(LearnablePrompt, KeepsFeaturesUntilSomethingChanges) {
  const auto model = build(Recipe().str());
  auto& prompt = prompt_of(*model);
  model->eval();
  const Batch batch = batch_of();
  const at::Tensor first = logits(*model, batch);
  EXPECT_EQ(prompt.encoded(), 3);  // the background, and two lists of tags
  EXPECT_TRUE(at::equal(logits(*model, batch), first));
  EXPECT_EQ(prompt.encoded(), 3);
  at::Tensor ctx = prompt.parameters().front();
  {
    const at::NoGradGuard no_grad;
    ctx.add_(1.0);
  }
  EXPECT_FALSE(at::equal(logits(*model, batch), first));
  EXPECT_EQ(prompt.encoded(), 6);
  {
    const at::NoGradGuard no_grad;
    ctx.sub_(1.0);
    ctx.set_data(ctx.clone());
  }
  logits(*model, batch);
  EXPECT_EQ(prompt.encoded(), 9);
  // While it learns every distinct text is encoded once a step.
  TrainContext context;
  model->train_step(batch_of(4), context);
  EXPECT_EQ(prompt.encoded(), 12);
}

TEST(LearnablePrompt, IsEncodedOnceWhereNothingLearns) {
  const auto model =
      build(Recipe().with("prompt", "{n_ctx = 0, texts = [\"open land\", \"a building\"]}").str());
  auto& prompt = prompt_of(*model);
  EXPECT_TRUE(prompt.parameters().empty());
  TrainContext context;
  for (int step = 0; step < 3; ++step) model->train_step(batch_of(), context);
  EXPECT_EQ(prompt.encoded(), 3);
}

std::vector<std::vector<std::int64_t>> layout(const std::string& options, const std::string& text) {
  // Rows of the sequence as ids; learned vector j of class k is -(1 + 100 k + j).
  const auto encoder =
      bind_slot<TextEncoder>("e = {type = \"Words\", length = 12}\n", "e", registry()).build({});
  modules::PromptOptions prompt;
  prompt.texts = {text, "b c"};
  prompt.tagged = {};
  std::istringstream stream(options);
  stream >> prompt.position >> prompt.csc;
  prompt.n_ctx = 3;
  modules::LearnablePrompt made(prompt, encoder, {12, 6, kText});
  made.forward({{}});
  const auto& words = dynamic_cast<Words&>(*encoder);
  const at::Tensor ctx = made.parameters().front().reshape({-1, 6});
  const at::Tensor table = words.embedding->weight;
  std::vector<std::vector<std::int64_t>> found;
  for (std::int64_t i = 0; i < words.given.size(0); ++i) {
    found.emplace_back();
    for (std::int64_t p = 0; p <= words.end[i].item<std::int64_t>(); ++p) {
      const at::Tensor row = words.given[i][p];
      for (std::int64_t id = 0; id < table.size(0); ++id) {
        if (at::equal(table[id], row)) found.back().push_back(id);
      }
      for (std::int64_t j = 0; j < ctx.size(0); ++j) {
        if (at::equal(ctx[j], row)) found.back().push_back(-(1 + 100 * (j / 3) + j % 3));
      }
    }
  }
  return found;
}

TEST(LearnablePrompt, PutsVectorsWhereItIsTold) {
  const auto id = [](const std::string& word) {
    std::int64_t sum = 0;
    for (const char c : word) sum += static_cast<unsigned char>(c);
    return 3 + sum % 47;
  };
  const std::int64_t a = id("a"), b = id("b"), c = id("c"), stop = id(".");
  using Rows = std::vector<std::vector<std::int64_t>>;
  EXPECT_EQ(layout("end 0", "a"), (Rows{{1, -1, -2, -3, a, 2}, {1, -1, -2, -3, b, c, 2}}));
  EXPECT_EQ(layout("middle 0", "a"), (Rows{{1, -1, a, -2, -3, 2}, {1, -1, b, c, -2, -3, 2}}));
  EXPECT_EQ(layout("front 0", "a"), (Rows{{1, a, -1, -2, -3, 2}, {1, b, c, -1, -2, -3, 2}}));
  EXPECT_EQ(layout("front 0", "a .")[0], (std::vector<std::int64_t>{1, a, -1, -2, -3, stop, 2}));
  EXPECT_EQ(layout("end 0", "a .")[0], (std::vector<std::int64_t>{1, -1, -2, -3, a, stop, 2}));
  EXPECT_EQ(layout("end 1", "a"), (Rows{{1, -1, -2, -3, a, 2}, {1, -101, -102, -103, b, c, 2}}));
}

TEST(LearnablePrompt, LeavesTagsOutThatDoNotFit) {
  const auto model =
      build(Recipe()
                .with("text_encoder", "{type = \"Words\", length = 11}")
                .with("prompt", "{n_ctx = 4, max_tags = 5, texts = [\"land\", \"roof\"]}")
                .str());
  model->eval();
  Batch long_tags = batch_of(1), short_tags = batch_of(1);
  // Seven positions remain: two marks, the word, and room for four one-word tags or two of two.
  long_tags.meta[0].tags = {{"oil tank", "bare land", "solar panel"}, {}};
  short_tags.meta[0].tags = {{"oil tank", "bare land"}, {}};
  EXPECT_TRUE(at::equal(logits(*model, long_tags), logits(*model, short_tags)));
  short_tags.meta[0].tags = {{"oil tank"}, {}};
  EXPECT_FALSE(at::equal(logits(*model, long_tags), logits(*model, short_tags)));
  // Most are five, and a sample without tags is none the worse.
  short_tags.meta.clear();
  EXPECT_TRUE(at::isfinite(logits(*model, short_tags)).all().item<bool>());
}

TEST(LearnablePrompt, BeginsAsAPhrase) {
  const auto model = build(Recipe().with("prompt", "{ctx_init = \"a photo of\"}").str());
  const at::Tensor ctx = prompt_of(*model).parameters().front();
  auto& words = part<Words>(*model, "text_encoder");
  const auto phrase = [&] {
    const auto ids = words.tokenize("a photo of", 20);
    return words.embedding->weight.index_select(
        0, at::tensor(std::vector<std::int64_t>(ids.begin() + 1, ids.end() - 1)));
  };
  EXPECT_TRUE(at::equal(ctx, phrase()));
  // Weights that come for the text encoder are taken; learned vectors in a file win.
  const auto load = [&](const std::string& name, const at::Tensor& value) {
    io::load_state(*model, {{name, value}}, "file", {.allow = {"**"}});
  };
  load("text_encoder.token_embedding.weight", at::randn({50, 6}));
  EXPECT_TRUE(at::equal(ctx, phrase()));
  load("learnable_prompt.ctx", at::ones({1, 1, 3, 6}));
  load("text_encoder.token_embedding.weight", at::randn({50, 6}));
  EXPECT_TRUE(at::equal(ctx, at::ones({3, 6})));
}

TEST(Vlcd, TellsTagsOfDatesApart) {
  const auto model = build(Recipe().str());
  model->eval();
  Batch batch = batch_of();
  const at::Tensor before = logits(*model, batch);
  std::swap(batch.meta[1].tags[0], batch.meta[1].tags[1]);
  const at::Tensor after = logits(*model, batch);
  EXPECT_TRUE(at::equal(before[0], after[0]));
  EXPECT_FALSE(at::equal(before[1], after[1]));
}

TEST(Vlcd, AppendsTheScoreMap) {
  const Recipe recipe = Recipe()
                            .with("backbone", "{type = \"Tower\"}")
                            .with("neck", "{type = \"DFC\", fpn = {out_channels = 8}, ratio = 3}")
                            .with("prompt",
                                  "{n_ctx = 3, init = \"trunc_normal\", texts = [\"a\", \"b\", "
                                  "\"c\", \"d\", \"e\", \"f\", \"g\", \"h\"]}")
                            .with("score_concat_index", "-1")
                            .with("freeze_text", "false");
  const auto model = build(recipe.str());
  std::map<std::string, at::Tensor> seen;
  model->attach_probe(
      [&](const std::string& name, const at::Tensor& value) { seen[name] = value; });
  model->eval();
  logits(*model, batch_of());
  ASSERT_TRUE(seen.contains("score.1"));
  EXPECT_EQ(seen["score.1"].sizes(), (at::IntArrayRef{2, 8, 2, 2}));
  EXPECT_LE(seen["score.1"].abs().max().item<float>(), 1.0001F);
  EXPECT_EQ(seen["text.0"].sizes(), (at::IntArrayRef{2, 8, kText}));
  EXPECT_EQ(model->named_parameters()["neck.minus_conv.3.conv.weight"].size(1), 24 + 8);
  TrainContext context;
  model->train_step(batch_of(), context);
  for (const auto& item : model->named_parameters()) {
    EXPECT_TRUE(item.value().grad().defined()) << item.key();
  }
}

// What the shipped configs do not have in it; the exchange of every part by --set is in
// tests/configs/vlcd_swap_test.cpp.
TEST(Vlcd, TakesOtherNecksDatesTogetherAndPicturesOfAnySize) {
  const Recipe recipes[] = {Recipe().with("neck", "{type = \"SiameseFusion\"}"),
                            Recipe().with("dates", "\"joint\""),
                            Recipe().with("preprocessor", "{size_divisor = 32}")};
  for (const Recipe& recipe : recipes) {
    SCOPED_TRACE(recipe.str());
    const auto model = build(recipe.str());
    TrainContext context;
    const Losses losses =
        model->train_step(batch_of(2, recipe.lines.contains("preprocessor") ? 50 : 64), context);
    EXPECT_TRUE(at::isfinite(losses.total()).item<bool>());
    for (const auto& item : model->named_parameters()) {
      EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key();
    }
  }
}

// An ablation without texts: by what the necks and the head are, or said outright.
TEST(Vlcd, LeavesTextsOutThatNothingReads) {
  const Recipe blind = Recipe().with("neck", "{type = \"SimpleCFC\", out_channels = 8}");
  const Recipe reading =
      blind.with("decode_head",
                 "{type = \"SwinTextDecode\", channels = 16, norm = {type = \"GN\", groups = 4}}");
  const auto told = [](const Recipe& recipe) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(error_of(recipe.str()), "no error");
    return testing::internal::GetCapturedStderr();
  };
  for (const Recipe& recipe : {blind, reading.with("use_text", "false")}) {
    SCOPED_TRACE(recipe.str());
    const auto model = build(recipe.str());
    const auto& prompt = prompt_of(*model);
    TrainContext context;
    model->train_step(batch_of(), context);
    model->eval();
    Batch batch = batch_of();
    const at::Tensor tagged = logits(*model, batch);
    batch.meta.clear();
    EXPECT_TRUE(at::equal(logits(*model, batch), tagged));
    EXPECT_EQ(prompt.encoded(), 0);
    for (const auto& item : model->named_parameters()) {
      const bool of_texts = item.key() == "gamma" || item.key().starts_with("context_decoder.") ||
                            item.key().starts_with("learnable_prompt.") ||
                            item.key().starts_with("text_encoder.");
      EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key();
      EXPECT_FALSE(of_texts && item.value().requires_grad()) << item.key();
    }
    // Weights, and rules for parameters, of the model with texts still find their names.
    for (const char* name : {"gamma", "learnable_prompt.ctx", "text_encoder.proj.weight"}) {
      EXPECT_TRUE(model->named_parameters().contains(name)) << name;
    }
  }
  EXPECT_NE(told(blind).find("test.toml:7:16: model.text_encoder: no neck and no head reads the "
                             "texts: they are left out, and nothing of them is trained; take a CFC "
                             "or a SwinTextDecode, give score_concat_index, or say that it is "
                             "meant: use_text = false"),
            std::string::npos)
      << told(blind);
  for (const Recipe& recipe :
       {Recipe(), reading, blind.with("use_text", "false"), blind.with("score_concat_index", "0")}) {
    EXPECT_EQ(told(recipe), "") << recipe.str();
  }
  EXPECT_NE(error_of(blind.with("use_text", "true").str())
                .find("model.use_text: no neck and no head reads the texts, got true; take a CFC or "
                      "a SwinTextDecode, give score_concat_index, or leave it out"),
            std::string::npos);
  EXPECT_NE(error_of(Recipe().with("use_text", "false").str())
                .find("model.neck.0: relates images to texts, and there are none in front of it"),
            std::string::npos);
  EXPECT_NE(error_of(blind.with("use_text", "false").with("score_concat_index", "1").str())
                .find("model.score_concat_index: is a likeness to texts, got 1 beside use_text = "
                      "false; leave one of them out"),
            std::string::npos);
}

TEST(SideFusionClip, ServesOtherSegmentors) {
  const std::string backbone = Recipe().lines.at("backbone");
  const auto siamese = build("type = \"SiameseEncoderDecoder\"\nbackbone = " + backbone +
                             "\nneck = {type = \"SiameseFusion\"}\n"
                             "decode_head = {type = \"FCNHead\", channels = 8}\n");
  TrainContext context;
  siamese->train_step(batch_of(), context);
  EXPECT_EQ(part<Tower>(*siamese, "backbone.clip").runs, 1);
  config::Named<LabelSpec> named;
  named.emplace_back("land", label_of("land", 3));
  const LabelSpecs land(std::move(named));
  const auto plain = model_slot("type = \"EncoderDecoder\"\nbackbone = " + backbone +
                                "\ndecode_head = {type = \"FCNHead\", channels = 8}\n")
                         .build({land, 3});
  EXPECT_NO_THROW(plain->train_step(synthetic_batch(land, 1, 3, 2, 64, 64), context));
}

TEST(SideFusionClip, GivesTheTowerImagesOfItsOwnMean) {
  const auto fused = [&](const std::string& more) {
    return bind_slot<Backbone>(
        "b = {type = \"SideFusionCLIP\", clip = {type = \"Tower\"}, "
        "rs_backbone = {type = \"Tower\"}, bridge = {type = \"dot\"}" +
            more + "}\n",
        "b", registry());
  };
  const auto on = fused("").build({FeatureSpec::image(3)});
  const auto off = fused(", clip_norm = false").build({FeatureSpec::image(3)});
  const at::NoGradGuard no_grad;
  const auto from = on->named_parameters();
  for (auto& item : off->named_parameters()) item.value().copy_(from[item.key()]);
  for (const auto& one : {on, off}) {
    one->eval();
    one->to(at::kDouble);
  }
  // A grey of 100 as ImageNet's and as CLIP's numbers have it.
  const at::Tensor imagenet =
      ((at::full({3}, 100.0, at::kDouble) - at::tensor({123.675, 116.28, 103.53}, at::kDouble)) /
       at::tensor({58.395, 57.12, 57.375}, at::kDouble));
  const at::Tensor clip = (at::full({3}, 100.0 / 255, at::kDouble) -
                           at::tensor({0.48145466, 0.4578275, 0.40821073}, at::kDouble)) /
                          at::tensor({0.26862954, 0.26130258, 0.27577711}, at::kDouble);
  const auto image = [](const at::Tensor& pixel) {
    return pixel.to(at::kDouble).view({1, 3, 1, 1}).expand({1, 3, 32, 32}).contiguous();
  };
  const at::Tensor a = on->forward(image(imagenet)).extras.at("global");
  const at::Tensor b = off->forward(image(clip)).extras.at("global");
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-9);
  EXPECT_EQ(message_of([&] {
              fused(", clip_norm = true").ask(&Backbone::Statics::output, FeatureSpec::image(4));
            }),
            "test.toml:1:125: b.clip_norm: knows three channels, got images of 4; write false");
}

// Files of the original projects, whose names the shipped maps translate.
TEST(Vlcd, ReadsOthersNames) {
  const Recipe changeclip = Recipe()
                                .with("backbone", "{type = \"Tower\"}")
                                .with("neck", "{type = \"DFC\", fpn = {out_channels = 8}}");
  for (const auto& [layout, toml] :
       {std::pair{"vlcd", Recipe().str()}, std::pair{"changeclip", changeclip.str()}}) {
    const auto model = build(toml);
    TensorMap theirs = io::rename(io::state_of(*model), io::inverse(backbones::key_rules(layout)));
    for (auto& [name, tensor] : theirs) tensor = at::full_like(tensor, 2);
    const auto has = [&](const std::string& name) {
      return std::any_of(theirs.begin(), theirs.end(),
                         [&](const auto& item) { return item.first == name; });
    };
    EXPECT_TRUE(
        has(layout == std::string("vlcd") ? "cfc.fusion_convs.0.conv.weight" : "contexts2"));
    EXPECT_TRUE(has("neck.lateral_convs.0.conv.weight"));
    std::vector<std::string> names;
    for (const auto& [name, tensor] : io::state_of(*model)) names.push_back(name);
    io::MatchOptions options;
    for (const std::string& each : backbones::key_layouts()) {
      options.layouts.push_back({each, backbones::key_rules(each)});
    }
    const io::KeyMatch match = io::match_keys(theirs, names, options);
    EXPECT_EQ(match.layout, layout);
    io::load_state(*model, match.tensors, "file");
    for (const auto& item : model->named_parameters()) {
      EXPECT_TRUE(item.value().eq(2).all().item<bool>()) << item.key();
    }
  }
}

TEST(Vlcd, SaysWhatDoesNotFit) {
  EXPECT_NE(error_of(Recipe().with("backbone", "{type = \"ResNet\", depth = 18}").str())
                .find("model.backbone: must give images' embeddings beside texts"),
            std::string::npos);
  EXPECT_NE(error_of(Recipe().with("prompt", "{n_ctx = 18}").str())
                .find("model.prompt.n_ctx: leaves no room for words among the text encoder's 20 "
                      "positions, got 18"),
            std::string::npos);
  EXPECT_NE(error_of(Recipe().with("prompt", "{tagged = [2]}").str())
                .find("model.prompt.tagged: there are texts 0 to 1, got 2"),
            std::string::npos);
  EXPECT_NE(error_of(Recipe().with("text_dim", "17").str())
                .find("model.text_dim: the text encoder gives 16, got 17; leave it out"),
            std::string::npos);
  EXPECT_NE(error_of(Recipe().with("score_concat_index", "4").str())
                .find("model.score_concat_index: there are 4 levels"),
            std::string::npos);
  EXPECT_NE(
      error_of(Recipe()
                   .with("backbone",
                         "{type = \"SideFusionCLIP\", clip = {type = \"Tower\"}, rs_backbone = "
                         "{type = \"ResNet\", depth = 18, out_indices = [1, 2]}, "
                         "bridge = {type = \"dot\"}}")
                   .str())
          .find("model.backbone.rs_backbone: a bridge joins a level of each, got 2 levels"),
      std::string::npos);
}

}  // namespace
}  // namespace strata::tests::vlcd
