// Whole models: composition over a small backbone, one date and two.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>

#include "backbones/backbone.hpp"
#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/synthetic.hpp"

namespace strata::tests {
namespace {

// Two levels at strides 2 and 4; counts how often it runs.
struct PairBackbone final : Backbone {
  static FeatureSpec output(const NoOptions&, const FeatureSpec&) {
    FeatureSpec spec;
    spec.levels = {{"0", 6, 2}, {"1", 8, 4}};
    return spec;
  }
  PairBackbone(const NoOptions&, const Context& context)
      : first(register_module("first", torch::nn::Conv2d(torch::nn::Conv2dOptions(
                                                             context.input.levels[0].channels, 6, 3)
                                                             .stride(2)
                                                             .padding(1)))),
        norm(register_module("norm", torch::nn::BatchNorm2d(6))),
        second(register_module(
            "second", torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 8, 3).stride(2).padding(1)))) {}
  Features forward(const at::Tensor& images) override {
    ++runs;
    batch = images.size(0);
    const at::Tensor x = at::relu(norm->forward(first->forward(images)));
    return {{x, second->forward(x)}, {}};
  }
  torch::nn::Conv2d first;
  torch::nn::BatchNorm2d norm;
  torch::nn::Conv2d second;
  int runs = 0;
  std::int64_t batch = 0;
};

const Registry& registry() {
  static const Registry* made = [] {
    auto* own = new Registry;
    register_builtin_components(*own);
    own->add<Backbone, PairBackbone, NoOptions>("Pair", "two levels, for tests");
    return own;
  }();
  return *made;
}

LabelSpecs labels_of(const std::vector<std::tuple<std::string, std::string, int, int>>& list) {
  config::Named<LabelSpec> named;
  for (const auto& [name, role, classes, date] : list) {
    LabelSpec label;
    for (int i = 0; i < classes; ++i) label.classes.push_back("c" + std::to_string(i));
    label.role = role;
    label.date = date;
    named.emplace_back(name, label);
  }
  return LabelSpecs(std::move(named));
}

const LabelSpecs kLand = labels_of({{"land", "semantic", 3, 0}});
const LabelSpecs kChange = labels_of({{"change", "change", 2, 0}});
const LabelSpecs kAll = labels_of(
    {{"before", "semantic", 4, 0}, {"after", "semantic", 4, 1}, {"change", "change", 2, 0}});

Slot<Segmentor> model_slot(const std::string& toml) {
  return bind_slot<Segmentor>("[model]\n" + toml, "model", registry());
}

std::shared_ptr<Segmentor> build(const std::string& toml, const LabelSpecs& labels) {
  return model_slot(toml).build({labels, 3});
}

std::string error_of(const std::string& toml, const LabelSpecs& labels, std::int64_t channels = 3) {
  return message_of([&] {
    model_slot(toml).ask(&Segmentor::Statics::check, Segmentor::Context{labels, channels});
  });
}

PairBackbone& backbone_of(Segmentor& model) {
  return dynamic_cast<PairBackbone&>(*model.named_children()["backbone"]);
}

std::vector<std::string> probed(Segmentor& model, const Batch& batch) {
  std::vector<std::string> names;
  model.attach_probe([&](const std::string& name, const at::Tensor&) { names.push_back(name); });
  at::NoGradGuard no_grad;
  model.predict(batch);
  model.attach_probe(nullptr);
  return names;
}

const std::string kSiamese =
    "type = \"SiameseEncoderDecoder\"\n"
    "backbone = {type = \"Pair\"}\n"
    "neck = {type = \"SiameseFusion\", policy = \"abs_difference\"}\n"
    "decode_head = {type = \"FCNHead\", channels = 8, dropout = 0.0}\n";

TEST(EncoderDecoder, HasMmsegsNames) {
  const std::string parts = "type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n";
  const auto prefixes = [](const Segmentor& model) {
    std::set<std::string> names;
    for (const auto& item : model.named_parameters()) {
      const std::string& key = item.key();
      const auto dot = key.find('.');
      const bool numbered = std::isdigit(static_cast<unsigned char>(key[dot + 1])) != 0;
      names.insert(key.substr(0, numbered ? key.find('.', dot + 1) : dot));
    }
    return names;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(prefixes(*build(parts + "decode_head = {type = \"FCNHead\"}\n", kLand)),
            (Names{"backbone", "decode_head"}));
  EXPECT_EQ(prefixes(*build(parts + "neck = [{type = \"FPN\"}]\n"
                                    "decode_head = {type = \"FPNHead\"}\n"
                                    "auxiliary_head = {type = \"FCNHead\"}\n",
                            kLand)),
            (Names{"backbone", "neck", "decode_head", "auxiliary_head"}));
  EXPECT_EQ(
      prefixes(*build(parts + "neck = [{type = \"FPN\"}, {type = \"FPN\"}]\n"
                              "decode_head = {type = \"FPNHead\"}\n"
                              "auxiliary_head = [{type = \"FCNHead\"}, {type = \"FCNHead\"}]\n",
                      kLand)),
      (Names{"backbone", "neck.0", "neck.1", "decode_head", "auxiliary_head.0",
             "auxiliary_head.1"}));
}

TEST(EncoderDecoder, TrainsAuxiliaryHeadsAndPredictsWithoutThem) {
  auto model = build(
      "type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
      "neck = {type = \"FPN\", out_channels = 8}\n"
      "decode_head = {type = \"UPerHead\", channels = 8}\n"
      "auxiliary_head = {type = \"FCNHead\", channels = 8}\n",
      kLand);
  EXPECT_EQ(model->dates(), 1);
  const Batch batch = synthetic_batch(kLand, 1, 3, 2, 32, 24);
  TrainContext context;
  const Losses losses = model->train_step(batch, context);
  ASSERT_EQ(losses.terms.size(), 2U);
  EXPECT_EQ(losses.terms[0].first, "decode_head.ce");
  EXPECT_EQ(losses.terms[1].first, "auxiliary_head.ce");
  EXPECT_EQ(losses.logged[1].first, "auxiliary_head.acc_seg");
  for (const auto& item : model->named_parameters()) {
    EXPECT_TRUE(item.value().grad().defined()) << item.key();
  }
  model->eval();
  EXPECT_EQ(probed(*model, batch), (std::vector<std::string>{"feat.0", "feat.1", "neck.0", "neck.1",
                                                             "out.decode_head.logits"}));
  const Outputs outputs = model->predict(batch);
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(outputs[0].first, "logits");
  EXPECT_EQ(outputs[0].second.data.sizes(), (at::IntArrayRef{2, 3, 32, 24}));
}

TEST(EncoderDecoder, PadsForTheModelAndCutsThePaddingOff) {
  const std::string parts =
      "type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
      "decode_head = {type = \"FCNHead\", channels = 8, dropout = 0.0}\n";
  auto padded = build(parts + "preprocessor = {size_divisor = 16}\n", kLand);
  const Batch batch = synthetic_batch(kLand, 1, 3, 2, 30, 20);
  padded->attach_probe([](const std::string& name, const at::Tensor& value) {
    if (name == "feat.0") {
      EXPECT_EQ(value.sizes(), (at::IntArrayRef{2, 6, 16, 16}));
    }
  });
  EXPECT_EQ(padded->predict(batch)[0].second.data.sizes(), (at::IntArrayRef{2, 3, 30, 20}));
  // The padding is not trained on: labels of padded pixels are ignored, so the accuracy counts
  // the real ones only.
  TrainContext context;
  Batch blank = batch;
  blank.targets.at("land").data.fill_(255);
  EXPECT_EQ(padded->loss(blank, context).total().item<float>(), 0);
}

TEST(EncoderDecoder, PredictsSeveralTargets) {
  const LabelSpecs two = labels_of({{"land", "semantic", 3, 0}, {"roof", "semantic", 2, 0}});
  auto model = build(
      "type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
      "decode_head = [{type = \"FCNHead\", target = \"land\"}, "
      "{type = \"FCNHead\", target = \"roof\", out_channels = 1}]\n",
      two);
  const Batch batch = synthetic_batch(two, 1, 3, 2, 16, 16);
  TrainContext context;
  const Losses losses = model->loss(batch, context);
  EXPECT_EQ(losses.terms[0].first, "decode_head.0.ce");
  EXPECT_EQ(losses.terms[1].first, "decode_head.1.bce");
  const Outputs outputs = model->predict(batch);
  EXPECT_EQ(outputs[0].first, "land.logits");
  EXPECT_EQ(outputs[1].first, "roof.logits");
  EXPECT_EQ(find_output(outputs, "roof")->data.size(1), 1);
}

TEST(SiameseEncoderDecoder, RunsEachDateOrAllTogether) {
  for (const bool joint : {false, true}) {
    auto model = build(kSiamese + (joint ? "dates = \"joint\"\n" : ""), kChange);
    EXPECT_EQ(model->dates(), 2);
    const Batch batch = synthetic_batch(kChange, 2, 3, 3, 16, 16);
    TrainContext context;
    model->train_step(batch, context);
    EXPECT_EQ(backbone_of(*model).runs, joint ? 1 : 2);
    EXPECT_EQ(backbone_of(*model).batch, joint ? 6 : 3);
    EXPECT_EQ(backbone_of(*model).norm->num_batches_tracked.item<std::int64_t>(), joint ? 1 : 2);
    for (const auto& item : model->named_parameters()) {
      EXPECT_TRUE(item.value().grad().defined()) << item.key();
    }
  }
}

TEST(SiameseEncoderDecoder, GivesTheSameEitherWayInEvaluation) {
  auto separate = build(kSiamese, kChange);
  auto joint = build(kSiamese + "dates = \"joint\"\n", kChange);
  at::NoGradGuard no_grad;
  const auto from = separate->named_parameters();
  for (auto& item : joint->named_parameters()) item.value().copy_(from[item.key()]);
  separate->eval();
  joint->eval();
  const Batch batch = synthetic_batch(kChange, 2, 3, 2, 16, 16);
  EXPECT_TRUE(
      at::equal(separate->predict(batch)[0].second.data, joint->predict(batch)[0].second.data));
}

TEST(SiameseEncoderDecoder, IsBlindToTheOrderWithASymmetricNeck) {
  auto model = build(kSiamese, kChange);
  model->eval();
  at::NoGradGuard no_grad;
  Batch batch = synthetic_batch(kChange, 2, 3, 2, 16, 16);
  const at::Tensor one_way = model->predict(batch)[0].second.data;
  std::swap(batch.images[0], batch.images[1]);
  EXPECT_TRUE(at::equal(one_way, model->predict(batch)[0].second.data));
}

// Heads that describe a date see its features before the fusion; those that describe the change
// see them after.
TEST(SiameseEncoderDecoder, ServesHeadsOfDatesAndOfTheChange) {
  auto model = build(
      "type = \"SiameseEncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
      "neck = [{type = \"FPN\", out_channels = 5}, {type = \"SiameseFusion\"}]\n"
      "decode_head = [{type = \"FCNHead\", target = [\"before\", \"after\"], "
      "in_channels = 5}, {type = \"FCNHead\", target = \"change\", "
      "in_channels = 10}]\n",
      kAll);
  Batch batch = synthetic_batch(kAll, 2, 3, 2, 16, 16);
  TrainContext context;
  const Losses losses = model->loss(batch, context);
  ASSERT_EQ(losses.terms.size(), 3U);
  EXPECT_EQ(losses.terms[0].first, "decode_head.0.before.ce");
  EXPECT_EQ(losses.terms[2].first, "decode_head.1.ce");
  model->eval();
  at::NoGradGuard no_grad;
  EXPECT_EQ(
      probed(*model, batch),
      (std::vector<std::string>{"feat.0.0", "feat.0.1", "feat.1.0", "feat.1.1", "neck.0", "neck.1",
                                "out.decode_head.0.before.logits", "out.decode_head.0.after.logits",
                                "out.decode_head.1.logits"}));
  const Outputs outputs = model->predict(batch);
  EXPECT_EQ(outputs[0].first, "before.logits");
  EXPECT_EQ(outputs[1].first, "after.logits");
  EXPECT_EQ(outputs[2].first, "change.logits");
  batch.images[1] = batch.images[0];
  const Outputs same = model->predict(batch);
  EXPECT_TRUE(at::equal(same[0].second.data, same[1].second.data));
}

TEST(Composition, ReportsEveryProblemAtOnce) {
  EXPECT_EQ(
      error_of("type = \"SiameseEncoderDecoder\"\n"
               "backbone = {type = \"Pair\"}\n"
               "decode_head = [{type = \"FCNHead\", target = \"change\"},\n"
               "  {type = \"FCNHead\", target = \"before\", in_index = 7}]\n"
               "auxiliary_head = {type = \"FCNHead\", target = \"after\", num_classes = 9}\n",
               kAll),
      "test.toml:4:44: model.decode_head.0.target: a label of changes needs fused features, "
      "got \"change\" on those of 2 dates; add a neck such as {type = \"SiameseFusion\"}\n"
      "test.toml:5:52: model.decode_head.1.in_index: there are 2 levels (2 x (6@2 8@4)), got "
      "7\n"
      "test.toml:6:69: model.auxiliary_head.num_classes: label \"after\" has 4 classes, got "
      "9; leave it out to have it derived");
  EXPECT_EQ(error_of("type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
                     "neck = {type = \"SiameseFusion\"}\ndecode_head = {type = \"FCNHead\"}\n",
                     kChange),
            "test.toml:4:8: model.neck: fuses the dates of a siamese model, got features of one "
            "date; leave it out, or use SiameseEncoderDecoder");
  EXPECT_EQ(error_of("type = \"EncoderDecoder\"\nbackbone = {type = \"Pair\"}\n"
                     "decode_head = {type = \"FCNHead\"}\n"
                     "preprocessor = {mean = [1.0, 2.0, 3.0]}\n",
                     kLand, 4),
            "test.toml:5:24: model.preprocessor.mean: needs one value for each of the 4 image "
            "channels, got 3");
}

TEST(Composition, RefusesABatchOfAnotherKind) {
  auto model = build(kSiamese, kChange);
  try {
    model->predict(synthetic_batch(kChange, 1, 3, 2, 16, 16));
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(), "the model compares 2 images a sample, the data set gives 1");
  }
  Batch batch = synthetic_batch(kChange, 2, 3, 2, 16, 16);
  batch.targets.clear();
  TrainContext context;
  try {
    model->loss(batch, context);
    FAIL() << "no error";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "label \"change\" is predicted by decode_head, but the data set gives none");
  }
}

TEST(Composition, DoesNotNormaliseTwice) {
  auto model = build(
      "type = \"EncoderDecoder\"\nbackbone.type = \"Pair\"\n"
      "preprocessor = {mean = [10.0, 20.0, 30.0], std = [2.0, 4.0, 5.0]}\n"
      "decode_head = {type = \"FCNHead\", channels = 4}",
      kLand);
  model->eval();
  at::NoGradGuard no_grad;
  Batch raw = synthetic_batch(kLand, 1, 3, 2, 16, 16);
  Batch ready = raw;
  const at::Tensor mean = at::tensor({10.0F, 20.0F, 30.0F}).view({1, 3, 1, 1});
  const at::Tensor std = at::tensor({2.0F, 4.0F, 5.0F}).view({1, 3, 1, 1});
  ready.images = {(raw.images[0].to(at::kFloat) - mean) / std};
  ready.preprocessed = true;
  const at::Tensor a = model->predict(raw).front().second.data;
  const at::Tensor b = model->predict(ready).front().second.data;
  EXPECT_LE((a - b).abs().max().item<double>(), 1e-5 * a.abs().max().item<double>());
}

}  // namespace
}  // namespace strata::tests
