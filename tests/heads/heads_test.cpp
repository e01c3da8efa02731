// Heads against mmseg's numbers, and what they derive, train and refuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/nn/resize.hpp"
#include "heads/head.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

LabelSpecs labels_of(const std::vector<LabelSpec>& labels) {
  config::Named<LabelSpec> named;
  for (const LabelSpec& label : labels) named.emplace_back(label.name, label);
  return LabelSpecs(std::move(named));
}

const LabelSpecs kLand = labels_of({label_of("land", 3, "semantic")});

Slot<Head> head_slot(const std::string& table) {
  return bind_slot<Head>("head = " + table + "\n", "head");
}

std::string error_of(const std::string& table, const Head::Context& context) {
  return message_of([&] { head_slot(table).ask(&Head::Statics::check, context); });
}

Batch batch_of(const std::map<std::string, at::Tensor>& maps, const LabelSpecs& labels) {
  Batch batch;
  for (const auto& [name, map] : maps) batch.targets[name] = {map, labels.get(name)};
  return batch;
}

class HeadParity : public testing::TestWithParam<std::string> {};

TEST_P(HeadParity, MatchesMmseg) {
  parity::check_component(GetParam(), [](const parity::Case& fixture) {
    std::vector<std::int64_t> channels;
    std::map<std::string, std::int64_t> extras;
    for (const auto& [name, shape] : fixture.inputs) {
      if (name.starts_with("in.")) channels.push_back(shape[1]);
      if (name.starts_with("text.")) extras[name] = shape.back();
    }
    FeatureSpec input = levels_of(channels);
    input.extras = extras;
    auto head = bind_slot<Head>(fixture.strata, "model.decode_head")
                    .build({input, labels_of({label_of("label", 5, "semantic")})});
    parity::Forward forward = [head, extras](const std::vector<at::Tensor>& inputs) {
      TensorMap named;
      Features features;  // the levels, then the texts, as their names are sorted
      features.levels.assign(inputs.begin(),
                             inputs.end() - static_cast<std::ptrdiff_t>(extras.size()));
      std::size_t next = features.levels.size();
      for (const auto& [name, width] : extras) features.extras[name] = inputs[next++];
      for (auto& [name, tensor] : head->forward({features})) {
        named.emplace_back("out." + name, tensor);
      }
      return named;
    };
    return std::pair<std::shared_ptr<torch::nn::Module>, parity::Forward>(head, forward);
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, HeadParity, testing::ValuesIn(parity::case_names("head")),
                         [](const auto& test) { return test.param; });

// The counts of ChangeCLIP's decoder behind an FPN of 256 channels, for texts of both towers.
TEST(SwinTextDecode, HasItsReferencesParameters) {
  const std::pair<std::int64_t, std::int64_t> counts[] = {{1024, 4754030}, {512, 4622958}};
  const LabelSpecs change = labels_of({label_of("change", 2, "change")});
  for (const auto& [width, count] : counts) {
    FeatureSpec input = levels_of({256, 256, 256, 256});
    input.extras = {{"text.0", width}, {"text.1", width}};
    const auto head = head_slot("{type = \"SwinTextDecode\"}").build({input, change});
    std::int64_t parameters = 0;
    for (const at::Tensor& parameter : head->parameters()) parameters += parameter.numel();
    EXPECT_EQ(parameters, count);
    const auto names = head->named_parameters();
    for (const char* name :
         {"linearA.0.weight", "linearB.1.bias", "layer1.up.up.up.1.weight",
          "layer1.up.up.up.2.bias", "layer2.up.layer.blocks.0.low_rank_bilinear.WQ.weight",
          "layer2.up.layer.blocks.1.proj.weight", "layer3.up.conv_relu.0.bias",
          "layer3.conv_relu.0.weight", "layer3.conv2.0.weight", "conv_seg.weight",
          "layer3.up.layer.blocks.1.attn.relative_position_bias_table",
          "layer3.up.layer.blocks.1.mlp.fc2.weight"}) {
      EXPECT_TRUE(names.contains(name)) << name;
    }
  }
}

TEST(SwinTextDecode, SaysWhatItNeeds) {
  const Head::Context plain{levels_of({16, 16, 16}), kLand};
  EXPECT_EQ(error_of("{type = \"SwinTextDecode\", use_text = true}", plain),
            "test.toml:1:45: head.use_text: there are no text features to attend to, got true; "
            "leave it out, or use a model with texts");
  EXPECT_NE(error_of("{type = \"SwinTextDecode\", channels = 70, norm = \"BN\"}", plain)
                .find("head.channels: must be a multiple of 4 and of twice the number of heads, 2, "
                      "got 70"),
            std::string::npos);
}

// Any number of levels of any channels, with nothing written but the type.
TEST(EveryHead, RunsOnWhateverLevelsThereAre) {
  for (const std::string& type : builtin_registry().names("head")) {
    for (const bool auxiliary : {false, true}) {
      for (std::size_t count = 1; count <= 5; ++count) {
        SCOPED_TRACE(type + " on " + std::to_string(count) + " levels");
        std::vector<std::int64_t> channels;
        std::vector<at::Tensor> levels;
        for (std::size_t i = 0; i < count; ++i) {
          channels.push_back(static_cast<std::int64_t>(3 + 2 * i));
          const std::int64_t size = std::max<std::int64_t>(2, 32 >> i);
          levels.push_back(at::randn({2, channels.back(), size, size + 1}));
        }
        // The groups of its norm want more channels.
        const char* width = type == "SwinTextDecode" ? "64" : "8";
        const Slot<Head> slot = head_slot("{type = \"" + type + "\", channels = " + width + "}");
        const Head::Context context{levels_of(channels), kLand, auxiliary};
        slot.ask(&Head::Statics::check, context);
        auto head = slot.build(context);
        const TensorMap raw = head->forward({{levels, {}}});
        EXPECT_EQ(get(raw, "logits").size(1), 3);
        TrainContext train;
        Losses losses;
        const at::Tensor map = at::randint(0, 3, {2, 48, 40}, at::kLong);
        head->loss(raw, batch_of({{"land", map}}, kLand), "decode_head", train, losses);
        ASSERT_EQ(losses.terms.size(), 1U);
        EXPECT_EQ(losses.terms[0].first, "decode_head.ce");
        losses.total().backward();
        for (const auto& item : head->named_parameters()) {
          EXPECT_TRUE(item.value().grad().defined()) << item.key();
        }
        Outputs outputs;
        head->predict(raw, 48, 40, outputs);
        ASSERT_EQ(outputs.size(), 1U);
        EXPECT_EQ(outputs[0].first, "logits");
        EXPECT_EQ(outputs[0].second.data.sizes(), (at::IntArrayRef{2, 3, 48, 40}));
        EXPECT_EQ(outputs[0].second.target, "land");
      }
    }
  }
}

TEST(DenseHead, ChoosesTheCoarsestLevelOrTheOneBefore) {
  // Channels tell the level: the classifier of a head without blocks has those of its input.
  const FeatureSpec input = levels_of({4, 6, 8, 10});
  const auto width = [&](const std::string& more, bool auxiliary) {
    const std::string table =
        "{type = \"FCNHead\", num_convs = 0, concat_input = false" + more + "}";
    auto head = head_slot(table).build({input, kLand, auxiliary});
    return head->named_parameters()["conv_seg.weight"].size(1);
  };
  EXPECT_EQ(width(", channels = 10", false), 10);
  EXPECT_EQ(width(", channels = 8", true), 8);
  EXPECT_EQ(width(", channels = 6, in_index = 1", true), 6);
  EXPECT_EQ(width(", channels = 4, in_index = -4", false), 4);
  EXPECT_EQ(width(", channels = 28, input_transform = \"resize_concat\"", false), 28);
}

TEST(DenseHead, LogsAccuracyOfValidPixels) {
  auto head = head_slot("{type = \"FCNHead\"}").build({levels_of({4}), kLand});
  // Best classes 0 1 2 0; the last pixel is not labelled, the second is wrong.
  const at::Tensor logits = at::tensor({9.0, 0.0, 0.0, 5.0,  //
                                        0.0, 9.0, 0.0, 0.0,  //
                                        0.0, 0.0, 9.0, 0.0})
                                .view({1, 3, 1, 4});
  const at::Tensor map = at::tensor({0, 2, 2, 255}, at::kLong).view({1, 1, 4});
  TrainContext train;
  Losses losses;
  head->loss({{"logits", logits}}, batch_of({{"land", map}}, kLand), "decode_head", train, losses);
  ASSERT_EQ(losses.logged.size(), 1U);
  EXPECT_EQ(losses.logged[0].first, "decode_head.acc_seg");
  EXPECT_NEAR(losses.logged[0].second.item<float>(), 200.0 / 3, 1e-4);
  auto quiet =
      head_slot("{type = \"FCNHead\", log_accuracy = false}").build({levels_of({4}), kLand});
  Losses none;
  quiet->loss({{"logits", logits}}, batch_of({{"land", map}}, kLand), "decode_head", train, none);
  EXPECT_TRUE(none.logged.empty());
}

TEST(DenseHead, ResizesLogitsAndWeighsTerms) {
  auto head = head_slot(
                  "{type = \"FCNHead\", loss_decode = [{type = \"CrossEntropyLoss\", "
                  "loss_weight = 0.5}, {type = \"DiceLoss\", loss_name = \"overlap\"}]}")
                  .build({levels_of({4}), kLand});
  const at::Tensor logits = at::randn({1, 3, 4, 4});
  const at::Tensor map = at::randint(0, 3, {1, 16, 16}, at::kLong);
  TrainContext train;
  Losses losses;
  head->loss({{"logits", logits}}, batch_of({{"land", map}}, kLand), "decode_head", train, losses);
  ASSERT_EQ(losses.terms.size(), 2U);
  EXPECT_EQ(losses.terms[1].first, "decode_head.overlap");
  const at::Tensor want = at::cross_entropy_loss(nn::resize(logits, 16, 16), map) * 0.5;
  EXPECT_NEAR(get(losses.terms, "decode_head.ce").item<float>(), want.item<float>(), 1e-6);
}

TEST(DenseHead, WeighsTheDefaultLossOfAnAuxiliaryHead) {
  const at::Tensor logits = at::randn({1, 3, 4, 4});
  const at::Tensor map = at::randint(0, 3, {1, 4, 4}, at::kLong);
  const auto term = [&](bool auxiliary) {
    auto head = head_slot("{type = \"FCNHead\"}").build({levels_of({4}), kLand, auxiliary});
    TrainContext train;
    Losses losses;
    head->loss({{"logits", logits}}, batch_of({{"land", map}}, kLand), "h", train, losses);
    return losses.total().item<float>();
  };
  EXPECT_NEAR(term(true), 0.4 * term(false), 1e-6);
}

TEST(DenseHead, PredictsTwoClassesWithOneChannel) {
  const LabelSpecs change = labels_of({label_of("change", 2, "change")});
  auto head = head_slot("{type = \"FCNHead\", out_channels = 1, threshold = 0.8}")
                  .build({levels_of({4}), change});
  Outputs outputs;
  // Probabilities 0.75 and 0.9.
  head->predict({{"logits", at::tensor({3.0, 9.0}).log().view({1, 1, 1, 2})}}, 1, 2, outputs);
  EXPECT_EQ(outputs[0].second.activation, Output::Activation::sigmoid);
  EXPECT_TRUE(at::equal(labels(outputs[0].second), at::tensor({0, 1}, at::kLong).view({1, 1, 2})));
}

TEST(DenseHead, PredictsEachDateThroughTheSameWeights) {
  const LabelSpecs both =
      labels_of({label_of("before", 3, "semantic", 0), label_of("after", 3, "semantic", 1)});
  const Slot<Head> slot = head_slot("{type = \"FCNHead\", target = [\"before\", \"after\"]}");
  EXPECT_TRUE(slot.ask(&Head::Statics::per_date, both));
  auto head = slot.build({levels_of({4}, 2), both});
  head->eval();
  const Features a{{at::randn({1, 4, 8, 8})}, {}}, b{{at::randn({1, 4, 8, 8})}, {}};
  const TensorMap raw = head->forward({a, b});
  const TensorMap swapped = head->forward({b, a});
  EXPECT_TRUE(at::equal(get(raw, "before.logits"), get(swapped, "after.logits")));
  EXPECT_TRUE(at::equal(get(raw, "after.logits"), get(swapped, "before.logits")));
  TrainContext train;
  Losses losses;
  const at::Tensor map = at::randint(0, 3, {1, 8, 8}, at::kLong);
  head->loss(raw, batch_of({{"before", map}, {"after", map}}, both), "decode_head", train, losses);
  EXPECT_EQ(losses.terms[0].first, "decode_head.before.ce");
  EXPECT_EQ(losses.terms[1].first, "decode_head.after.ce");
}

TEST(EveryHead, SaysWhatDoesNotFit) {
  const Head::Context four{levels_of({8, 16, 32, 64}), kLand};
  const auto head = [](const std::string& options) {
    return "{type = \"FCNHead\", " + options + "}";
  };
  EXPECT_EQ(error_of(head("in_channels = 512"), four),
            "test.toml:1:41: head.in_channels: the component in front gives [64], got [512]; leave "
            "it out to have it derived");
  EXPECT_EQ(error_of(head("in_index = 4"), four),
            "test.toml:1:38: head.in_index: there are 4 levels (8@4 16@8 32@16 64@32), got 4");
  EXPECT_EQ(error_of(head("in_index = [0, 1]"), four),
            "test.toml:1:38: head.in_index: this head takes one level, got [0, 1]; choose one, or "
            "set input_transform = \"resize_concat\"");
  EXPECT_EQ(error_of(head("input_transform = \"multiple_select\""), four),
            "test.toml:1:45: head.input_transform: this head takes one level, got "
            "\"multiple_select\"; use \"resize_concat\" or one in_index");
  EXPECT_EQ(error_of("{type = \"UPerHead\", input_transform = \"resize_concat\"}", four),
            "test.toml:1:46: head.input_transform: this head takes several levels itself, got "
            "\"resize_concat\"; leave it out");
  EXPECT_EQ(error_of(head("num_classes = 19"), four),
            "test.toml:1:41: head.num_classes: label \"land\" has 3 classes, got 19; leave it out "
            "to have it derived");
  EXPECT_EQ(error_of(head("out_channels = 1"), four),
            "test.toml:1:42: head.out_channels: label \"land\" with 3 classes needs 3, got 1");
  EXPECT_EQ(error_of(head("target = \"lnd\""), four),
            "test.toml:1:36: head.target: no such label is declared (there are \"land\"), got "
            "\"lnd\"; did you mean \"land\"?");
  EXPECT_EQ(error_of(head("channels = 30, norm = \"GN\""), four),
            "test.toml:1:49: head.norm: groups must divide the 30 channels of every layer, got 32");
  EXPECT_EQ(error_of(head("kernel_size = 4"), four),
            "test.toml:1:41: head.kernel_size: must be odd to keep the size, got 4");
  EXPECT_EQ(error_of(head("num_convs = 0"), four),
            "test.toml:1:8: head.channels: without blocks (num_convs = 0) it must be that of the "
            "input, 64, got 256");
  EXPECT_EQ(error_of("{type = \"FPNHead\", feature_strides = [4, 8, 16, 16]}", four),
            "test.toml:1:45: head.feature_strides: the levels have [4, 8, 16, 32], got "
            "[4, 8, 16, 16]; leave it out to have it derived");
  EXPECT_EQ(error_of("{type = \"FPNHead\", in_index = [3, 2]}", four),
            "test.toml:1:38: head.in_index: the first level must be the finest, got strides "
            "[32, 16]");
  EXPECT_EQ(error_of(head("loss_decode = [{type = \"DiceLoss\"}, {type = \"DiceLoss\"}]"), four),
            "test.toml:1:63: head.loss_decode.1.loss_name: each loss of a head needs a name of its "
            "own, got \"dice\" again; set loss_name");
  const LabelSpecs mixed =
      labels_of({label_of("now", 3, "semantic", 2), label_of("change", 2, "change")});
  const Head::Context two{levels_of({8}, 2), mixed};
  EXPECT_EQ(error_of(head("target = \"change\""), two),
            "test.toml:1:36: head.target: a label of changes needs fused features, got \"change\" "
            "on those of 2 dates; add a neck such as {type = \"SiameseFusion\"}");
  EXPECT_EQ(error_of(head("target = \"now\""), two),
            "test.toml:1:36: head.target: the model sees dates 0 to 1, got \"now\" which describes "
            "date 2");
  EXPECT_EQ(error_of(head("target = [\"now\", \"change\"]"), two),
            "test.toml:1:36: head.target: labels of dates and of changes need a head each, got "
            "\"now\" (semantic) and \"change\" (change)");
}

TEST(PyramidPooling, SaysThatABatchOfOneCannotTrainThroughOneCell) {
  auto head = head_slot("{type = \"PSPHead\", channels = 8}").build({levels_of({4}), kLand});
  const DateFeatures one{{{at::randn({1, 4, 8, 8})}, {}}};
  try {
    head->forward(one);
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "pyramid pooling to one cell leaves batch norm a single value to train on with a "
                 "batch of one image; use a larger batch, norm = \"GN\", or pool_scales without 1");
  }
  head->eval();
  EXPECT_EQ(get(head->forward(one), "logits").size(0), 1);
}

}  // namespace
}  // namespace strata::tests
