// ChangeMask: what its composition promises (its numbers are compared in changemask_parity_test).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/synthetic.hpp"

namespace strata::tests::changemask {
namespace {

LabelSpecs labels() {
  config::Named<LabelSpec> named;
  for (const LabelSpec& label : {label_of("before", 6), label_of("after", 6, "semantic", 1),
                                 label_of("change", 2, "change")}) {
    named.emplace_back(label.name, label);
  }
  return LabelSpecs(std::move(named));
}

// Narrow: two levels behind a ResNet's stem.
const std::string kBackbone =
    "[model]\ntype = \"ChangeMask\"\n"
    "backbone = {type = \"ResNet\", depth = 18, base_channels = 8, out_indices = [-1, 0, 1]}\n";
const std::string kHead =
    "type = \"FCNHead\", num_convs = 0, concat_input = false, channels = 8, dropout = 0.0, "
    "neck = {type = \"UnetDecoder\", decoder_channels = [16, 12, 8]}";
const std::string kSemantic = "{" + kHead + ", target = [\"before\", \"after\"]}";
const std::string kChange = "{" + kHead + ", target = \"change\", out_channels = 1}";
const std::string kHeads = "decode_head = [" + kSemantic + ",\n  " + kChange + "]\n";

std::string with_fusion(const std::string& fusion) {
  return kBackbone + "neck = {type = \"TemporalSymmetricTransformer\", symmetric_fusion = \"" +
         fusion + "\"}\n" + kHeads;
}

std::shared_ptr<Segmentor> build(const std::string& toml) {
  return bind_slot<Segmentor>(toml, "model").build({labels(), 3});
}

std::string error_of(const std::string& toml) {
  return message_of([&] {
    bind_slot<Segmentor>(toml, "model")
        .ask(&Segmentor::Statics::check, Segmentor::Context{labels(), 3});
  });
}

const at::Tensor& logits_of(const Outputs& outputs, const std::string& target) {
  return find_output(outputs, target)->data;
}

TEST(ChangeMask, SwapsItsSemanticsAndKeepsItsChangeWhenDatesChangePlaces) {
  const at::NoGradGuard no_grad;
  for (const std::string fusion : {"add", "mul", "none"}) {
    const auto model = build(with_fusion(fusion));
    model->eval();
    Batch batch = synthetic_batch(labels(), 2, 3, 2, 32, 48);
    const Outputs one = model->predict(batch);
    ASSERT_EQ(one.size(), 3U);
    EXPECT_EQ(logits_of(one, "before").sizes(), (at::IntArrayRef{2, 6, 32, 48}));
    EXPECT_EQ(logits_of(one, "change").sizes(), (at::IntArrayRef{2, 1, 32, 48}));
    std::swap(batch.images[0], batch.images[1]);
    const Outputs other = model->predict(batch);
    EXPECT_EQ(at::equal(logits_of(one, "change"), logits_of(other, "change")), fusion != "none");
    EXPECT_TRUE(at::equal(logits_of(one, "before"), logits_of(other, "after")));
    EXPECT_TRUE(at::equal(logits_of(one, "after"), logits_of(other, "before")));
    batch.images[1] = batch.images[0];
    const Outputs same = model->predict(batch);
    EXPECT_TRUE(at::equal(logits_of(same, "before"), logits_of(same, "after")));
  }
}

// Each decoder call, and each order of the transformer, takes its own statistics, date 0 first.
TEST(ChangeMask, UpdatesStatisticsInTorchangesOrder) {
  const auto model = build(with_fusion("add"));
  TrainContext context;
  model->loss(synthetic_batch(labels(), 2, 3, 2, 32, 32), context);
  const auto buffers = model->named_buffers();
  const auto updates = [&](const std::string& norm) {
    return buffers[norm + ".num_batches_tracked"].item<std::int64_t>();
  };
  EXPECT_EQ(updates("backbone.bn1"), 1);
  EXPECT_EQ(updates("neck.t.0.2"), 2);
  EXPECT_EQ(updates("decode_head.0.neck.blocks.0.conv1.1"), 2);
  EXPECT_EQ(updates("decode_head.1.neck.blocks.0.conv1.1"), 1);
}

TEST(ChangeMask, PredictsOfItsHeadsWhatItIsAskedFor) {
  const auto model = build(with_fusion("add") + "predict = \"change\"\n");
  TrainContext context;
  const Batch batch = synthetic_batch(labels(), 2, 3, 2, 32, 32);
  EXPECT_EQ(model->loss(batch, context).terms.size(), 3U);
  model->eval();
  const at::NoGradGuard no_grad;
  std::vector<std::string> run;
  model->attach_probe([&](const std::string& name, const at::Tensor&) {
    if (name.starts_with("out.")) run.push_back(name);
  });
  const Outputs outputs = model->predict(batch);
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_EQ(outputs[0].second.target, "change");
  EXPECT_EQ(run, std::vector<std::string>{"out.decode_head.1.logits"});
  EXPECT_EQ(error_of(with_fusion("add") + "predict = [\"chang\"]\n"),
            "test.toml:7:11: model.predict: the decode heads predict before, after, change, got "
            "\"chang\"; did you mean \"change\"?");
}

TEST(ChangeMask, FindsChangesAlone) {
  const auto model = build(kBackbone + "neck = {type = \"TemporalSymmetricTransformer\"}\n" +
                           "decode_head = " + kChange + "\n");
  const auto names = model->named_parameters();
  EXPECT_TRUE(names.contains("neck.t.2.0.weight"));
  EXPECT_TRUE(names.contains("decode_head.neck.blocks.2.conv2.0.weight"));
  TrainContext context;
  const Losses losses = model->loss(synthetic_batch(labels(), 2, 3, 2, 32, 32), context);
  ASSERT_EQ(losses.terms.size(), 1U);
  EXPECT_EQ(losses.terms[0].first, "decode_head.bce");
}

TEST(ChangeMask, NeedsAHeadOfTheChange) {
  EXPECT_EQ(error_of(kBackbone + "decode_head = " + kSemantic + "\n"),
            "test.toml:1:1: model: no decode head predicts what changed; add one whose target has the "
            "role \"change\"");
  EXPECT_NE(error_of(kBackbone + kHeads).find("a label of changes needs fused features"),
            std::string::npos);
}

// The fusion may also be a neck of the head that needs it, as may any other part.
TEST(ChangeMask, TakesAnyFusionAnywhere) {
  const std::string own =
      "{type = \"FCNHead\", num_convs = 0, concat_input = false, channels = 8, target = \"change\", "
      "neck = [{type = \"SiameseFusion\", policy = \"abs_diff\"}, "
      "{type = \"UnetDecoder\", decoder_channels = [16, 12, 8]}]}";
  const auto model = build(kBackbone + "decode_head = [" + kSemantic + ", " + own + "]\n");
  EXPECT_TRUE(model->named_parameters().contains("decode_head.1.neck.1.blocks.0.conv1.0.weight"));
  TrainContext context;
  model->loss(synthetic_batch(labels(), 2, 3, 2, 32, 32), context).total().backward();
  for (const auto& item : model->named_parameters()) {
    EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad()) << item.key();
  }
}

const std::string kTerms =
    "[[model.decode_head]]\n" + std::string(
    "type = \"FCNHead\"\nnum_convs = 0\nconcat_input = false\nchannels = 8\n"
    "target = [\"before\", \"after\"]\nlog_accuracy = false\n"
    "neck = {type = \"UnetDecoder\", decoder_channels = [16, 12, 8]}\n"
    "loss_decode = [{type = \"CrossEntropyLoss\", target = \"before\", loss_name = \"s1_ce_loss\"},\n"
    "  {type = \"DiceLoss\", target = \"before\", loss_name = \"s1_dice_loss\"},\n"
    "  {type = \"CrossEntropyLoss\", target = \"after\", loss_name = \"s2_ce_loss\"},\n"
    "  {type = \"FocalLoss\", loss_weight = 0.5}]\n"
    "[[model.decode_head]]\n"
    "type = \"FCNHead\"\nnum_convs = 0\nconcat_input = false\nchannels = 8\n"
    "target = \"change\"\nout_channels = 1\n"
    "neck = {type = \"UnetDecoder\", decoder_channels = [16, 12, 8]}\n"
    "loss_decode = [{type = \"BinaryCrossEntropyLoss\", label_smoothing = 0.1, "
    "loss_name = \"c_bce_loss\"},\n"
    "  {type = \"TverskyLoss\", loss_name = \"c_dice_loss\"}]\n");
const std::string kFused = kBackbone + "neck = {type = \"TemporalSymmetricTransformer\"}\n";

TEST(ChangeMask, NamesItsTermsAsTheConfigSays) {
  const auto model = build(kFused +
                           "joint_loss = {type = \"SemanticConsistencyLoss\", loss_weight = 2.0, "
                           "loss_name = \"sc_mse_loss\"}\n" +
                           kTerms);
  TrainContext context;
  const Batch batch = synthetic_batch(labels(), 2, 3, 2, 32, 32);
  const Losses losses = model->loss(batch, context);
  std::vector<std::string> names;
  for (const auto& [name, value] : losses.terms) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "decode_head.0.s1_ce_loss", "decode_head.0.s1_dice_loss",
                       "decode_head.0.before.focal", "decode_head.0.s2_ce_loss",
                       "decode_head.0.after.focal", "decode_head.1.c_bce_loss",
                       "decode_head.1.c_dice_loss", "joint_loss.sc_mse_loss"}));
  // By hand of the same logits, twice for the weight.
  model->eval();
  const auto softmax = [&](const Outputs& outputs, const char* target) {
    return at::softmax(logits_of(outputs, target), 1);
  };
  const at::NoGradGuard no_grad;
  const Outputs outputs = model->predict(batch);
  const at::Tensor d = (softmax(outputs, "before") - softmax(outputs, "after")).square();
  const at::Tensor change = batch.targets.at("change").data.unsqueeze(1);
  const at::Tensor known = change.ne(255).expand_as(d);
  const double want = 2 * at::where(change.eq(1), 1 - d, d).masked_select(known).mean().item<double>();
  const Losses again = model->loss(batch, context);
  EXPECT_NEAR(again.terms.back().second.item<double>(), want, 1e-6);
}

TEST(ChangeMask, SaysWhichTermsDoNotFit) {
  EXPECT_EQ(error_of(kFused + "decode_head = [" +
                     kSemantic.substr(0, kSemantic.size() - 1) +
                     ", loss_decode = {type = \"DiceLoss\", target = \"change\"}}, " + kChange + "]\n")
                .substr(0, 13),
            "test.toml:5:2");
  EXPECT_NE(error_of(kFused + "decode_head = [" + kSemantic.substr(0, kSemantic.size() - 1) +
                     ", loss_decode = {type = \"DiceLoss\", target = \"change\"}}, " + kChange + "]\n")
                .find("model.decode_head.0.loss_decode.target: the head predicts before, after, got "
                      "\"change\""),
            std::string::npos);
  EXPECT_NE(error_of(kFused + "joint_loss = {type = \"SemanticConsistencyLoss\"}\ndecode_head = " +
                     kChange + "\n")
                .find("model.joint_loss.targets: two semantic labels are needed, one of each date, "
                      "there are 0"),
            std::string::npos);
}

// One batch is learned by heart: no consistency and no smoothing, which have a floor.
TEST(ChangeMask, LearnsOneBatch) {
  at::manual_seed(3);
  const auto model = build(kFused + kHeads);
  Batch batch = synthetic_batch(labels(), 2, 3, 2, 32, 32);
  for (auto& [name, target] : batch.targets) {  // squares that the images show
    target.data = at::zeros_like(target.data);
    target.data.narrow(1, 8, 16).narrow(2, 8, 16).fill_(1);
    const std::size_t date = name == "before" ? 0 : 1;
    batch.images[date].narrow(2, 8, 16).narrow(3, 8, 16).fill_(name == "before" ? 30 : 220);
  }
  TrainContext context;
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    model->zero_grad();
    const Losses losses = model->train_step(batch, context);
    last = losses.total().item<double>();
    if (step == 0) first = last;
    const at::NoGradGuard no_grad;
    for (at::Tensor& parameter : model->parameters()) {
      if (parameter.grad().defined()) parameter.sub_(parameter.grad(), 0.05);
    }
  }
  EXPECT_LT(last, 0.3 * first);
}

// A batch of which nothing is known trains nothing, and nothing of it is no number.
TEST(ChangeMask, LearnsNothingFromABatchWithoutLabels) {
  const auto model = build(kFused +
                           "joint_loss = {type = \"SemanticConsistencyLoss\"}\n" + kTerms);
  Batch batch = synthetic_batch(labels(), 2, 3, 2, 32, 32);
  for (auto& [name, target] : batch.targets) target.data.fill_(255);
  TrainContext context;
  const Losses losses = model->train_step(batch, context);
  for (const auto& [name, value] : losses.terms) EXPECT_EQ(value.item<double>(), 0) << name;
  for (const at::Tensor& parameter : model->parameters()) {
    if (!parameter.requires_grad()) continue;
    EXPECT_TRUE(parameter.grad().eq(0).all().item<bool>());
  }
}

}  // namespace
}  // namespace strata::tests::changemask
