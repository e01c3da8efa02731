// Steps of more than one batch, more than one optimizer, and less than float32.
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "framework/base/error.hpp"
#include "framework/engine/amp.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/io/safetensors.hpp"
#include "losses/loss.hpp"
#include "segmentors/segmentor.hpp"
#include "tests/framework/engine/stub_run.hpp"

namespace strata::engine {
namespace {

using tests::expect_same_run;
using tests::slot_of;
using tests::stub_batch;
using tests::StubModel;
using tests::StubRun;
using tests::TempDir;

// ---------------------------------------------------------------- accumulation

/// A linear model in float64 under every loss whose value is a sum over pixels or samples by a
/// count; the counts differ from batch to batch.
struct PixelModel final : Model {
  PixelModel() {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 2, 1)));
    conv->to(at::kDouble);
    const at::NoGradGuard no_grad;
    conv->weight.copy_(at::arange(6, at::kDouble).sin().reshape({2, 3, 1, 1}));
    conv->bias.zero_();
    for (const char* toml :
         {"type = \"CrossEntropyLoss\"", "type = \"CrossEntropyLoss\"\nclass_weight = [1, 3]",
          "type = \"CrossEntropyLoss\"\naverage = \"all\"", "type = \"BinaryCrossEntropyLoss\"",
          "type = \"DiceLoss\"\nper = \"sample\""}) {
      losses.push_back(slot_of<Loss>(toml).build({tests::stub_label(), 2}));
    }
  }
  Losses loss(const Batch& batch, TrainContext& context) override {
    Losses all;
    const at::Tensor logits = conv(batch.images.at(0).to(at::kDouble) / 255.0);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      all.add("loss_" + std::to_string(i),
              losses[i]->forward(logits, batch.targets.at("change").data, {}, context));
    }
    return all;
  }
  Outputs predict(const Batch&) override { return {}; }
  torch::nn::Conv2d conv{nullptr};
  std::vector<std::shared_ptr<Loss>> losses;
};

/// Three batches with few, some and no ignored pixels; or all as one.
struct PixelBatches final : BatchSource {
  explicit PixelBatches(bool as_one) : joined(as_one) {}
  static Batch part(std::int64_t number) {
    Batch batch = stub_batch(number);
    at::Tensor& truth = batch.targets["change"].data;
    if (number == 0) truth.slice(1, 0, 5).fill_(255);
    if (number == 1) truth.select(0, 1).fill_(255);  // a sample without a valid pixel
    return batch;
  }
  Batch next() override {
    if (!joined) return part(number++);
    Batch all = part(0);
    for (const std::int64_t i : {1, 2}) {
      const Batch more = part(i);
      all.images[0] = at::cat({all.images[0], more.images[0]});
      at::Tensor& truth = all.targets["change"].data;
      truth = at::cat({truth, more.targets.at("change").data});
    }
    return all;
  }
  void seek(std::int64_t batch) override { number = batch; }
  bool joined;
  std::int64_t number = 0;
};

/// One step of SGD over the three batches, accumulated or as one.
void one_step(const std::string& work_dir, const std::shared_ptr<Model>& model, bool joined) {
  StubRun run(work_dir, 1);
  run.settings.train.accumulate = joined ? 1 : 3;
  run.settings.train.log_interval = 1;
  RunParts parts;
  parts.model = model;
  const auto slot = slot_of<Optimizer>("type = \"SGD\"\nlr = 1");
  const auto plan = optim::plan_groups(optim::parameters_of(*model),
                                       slot.ask(&Optimizer::Statics::common), nullptr);
  parts.trainers.push_back({"", slot.build({plan.groups}), nullptr});
  parts.batches = std::make_unique<PixelBatches>(joined);
  Runner(std::move(parts), run.settings).run();
}

/// Both ways to the same parameters and logged terms, within `tolerance`; each parameter moves by
/// more than `moves`.
void expect_one_big_batch(const std::function<std::shared_ptr<Model>()>& make, double tolerance,
                          double moves) {
  const TempDir three, one;
  const auto accumulated = make(), whole = make(), before = make();
  one_step(three.path(), accumulated, false);
  one_step(one.path(), whole, true);
  for (const auto& item : whole->named_parameters()) {
    if (!item.value().requires_grad()) continue;  // of a layer that nothing uses
    const at::Tensor moved = accumulated->named_parameters()[item.key()];
    EXPECT_LE((moved - item.value()).abs().max().item<double>(), tolerance) << item.key();
    EXPECT_GT((moved - before->named_parameters()[item.key()]).abs().max().item<double>(), moves)
        << item.key();
  }
  // The logged terms are those of the whole, too.
  const auto line = [](const TempDir& folder) {
    const std::string text = read_text(folder / "scalars.jsonl");
    return nlohmann::json::parse(text.substr(0, text.find('\n')));
  };
  const auto parts = line(three), all = line(one);
  for (const auto& [name, value] : all.items()) {
    if (!value.is_number_float()) continue;
    EXPECT_NEAR(parts.at(name).get<double>(), value.get<double>(), 10 * tolerance) << name;
  }
}

TEST(Accumulation, IsOneBigBatch) {
  expect_one_big_batch([] { return std::make_shared<PixelModel>(); }, 1e-15, 1e-3);
}

// The labels that the losses get are then no targets of a batch; those of the other batches are
// padded in the same way to be counted.
TEST(Accumulation, IsOneBigBatchOfAModelThatPads) {
  config::Named<LabelSpec> named;
  named.emplace_back("change", tests::stub_label());
  const LabelSpecs labels(std::move(named));
  expect_one_big_batch(
      [&] {
        at::manual_seed(1);
        const std::shared_ptr<Model> model =
            slot_of<Segmentor>(
                "type = \"EncoderDecoder\"\npreprocessor = {size_divisor = 8}\n"
                "backbone = {type = \"ResNet\", depth = 18, base_channels = 4, norm = \"none\", "
                "out_indices = [0]}\n"
                "decode_head = {type = \"FCNHead\", channels = 4, num_convs = 1, dropout = 0.0, "
                "concat_input = false, norm = \"none\", log_accuracy = false, loss_decode = ["
                "{type = \"CrossEntropyLoss\"}, "
                "{type = \"CrossEntropyLoss\", average = \"all\", loss_name = \"all\"}, "
                "{type = \"DiceLoss\", per = \"sample\"}]}")
                .build({labels, 3});
        model->to(at::kDouble);
        return model;
      },
      1e-13, 1e-6);
}

// ---------------------------------------------------------------- several optimizers

/// Two numbers: a discriminator d pulls d g towards 1, a generator g pushes d g down.
struct Adversaries final : Model {
  Adversaries() {
    g = register_parameter("generator", at::full({1}, 2.0, at::kDouble));
    d = register_parameter("discriminator", at::full({1}, 3.0, at::kDouble));
  }
  Losses loss(const Batch&, TrainContext&) override { return {}; }
  Outputs predict(const Batch&) override { return {}; }
  Losses train_step(const Batch&, TrainContext& context) override {
    Losses losses;
    losses.add("loss_d", (d * g.detach() - 1).square().sum());
    context.backward(losses.terms.back().second);
    context.step("discriminator");
    losses.add("loss_g", ((through ? d : d.detach()) * g).sum());
    context.backward(losses.terms.back().second);
    return losses;
  }
  at::Tensor g, d;
  bool through = false;  // the generator's loss has a gradient for the discriminator, too
};

Runner adversarial(const RunSettings& settings, std::shared_ptr<Adversaries> model,
                   const std::string& more = "") {
  RunParts parts;
  parts.model = model;
  for (const auto& [name, lr] :
       {std::pair{"generator", "0.01"}, std::pair{"discriminator", "0.1"}}) {
    const auto slot = slot_of<Optimizer>(std::string("type = \"SGD\"\nlr = ") + lr +
                                         "\nparams = \"" + name + "\"" + more);
    const auto plan = optim::plan_groups(optim::parameters_of(*model),
                                         slot.ask(&Optimizer::Statics::common), nullptr);
    parts.trainers.push_back({name, slot.build({plan.groups}), nullptr});
  }
  parts.batches = std::make_unique<tests::StubBatches>();
  return Runner(std::move(parts), settings);
}

// By hand, lr 0.1 and 0.01: from g = 2, d = 3
//   d: gradient 2 (6 - 1) 2 = 20, d = 1;    g: gradient d = 1,    g = 1.99
//   d: 2 (1.99 - 1) 1.99 = 3.9402, d = 0.60598;  g: 0.60598, g = 1.9839402
TEST(SeveralOptimizers, EachStepsWhenTheModelSaysSo) {
  const TempDir folder;
  auto model = std::make_shared<Adversaries>();
  StubRun run(folder.path(), 2);
  run.settings.train.log_interval = 1;
  adversarial(run.settings, model).run();
  EXPECT_NEAR(model->d.item<double>(), 0.60598, 1e-14);
  EXPECT_NEAR(model->g.item<double>(), 1.9839402, 1e-14);
  const std::string text = read_text(folder / "scalars.jsonl");
  const auto line = nlohmann::json::parse(text.substr(0, text.find('\n')));
  EXPECT_EQ(line.at("lr.generator"), 0.01);
  EXPECT_EQ(line.at("lr.discriminator"), 0.1);
  EXPECT_EQ(line.at("loss_d"), 25.0);
  EXPECT_NEAR(line.at("loss_g").get<double>(), 2.0, 1e-14);  // the discriminator has stepped
}

TEST(SeveralOptimizers, OneThatTheModelSteppedIsNotSteppedAgain) {
  const TempDir folder;
  auto model = std::make_shared<Adversaries>();
  model->through = true;
  StubRun run(folder.path(), 2);
  adversarial(run.settings, model).run();
  EXPECT_NEAR(model->d.item<double>(), 0.60598, 1e-14);
  EXPECT_NEAR(model->g.item<double>(), 1.9839402, 1e-14);
}

// Of two batches a step, the first sees d = 3 and the second, in which the step is due, d = 1.
TEST(SeveralOptimizers, StepOnceAWindow) {
  const TempDir folder;
  auto model = std::make_shared<Adversaries>();
  StubRun run(folder.path(), 1);
  run.settings.train.accumulate = 2;
  adversarial(run.settings, model).run();
  EXPECT_NEAR(model->d.item<double>(), 1.0, 1e-15);
  EXPECT_NEAR(model->g.item<double>(), 2.0 - 0.01 * (3.0 + 1.0) / 2, 1e-15);
}

TEST(SeveralOptimizers, ResumeExactly) {
  const TempDir straight, broken;
  StubRun run(straight.path(), 6);
  const std::string momentum = "\nmomentum = 0.9";
  adversarial(run.settings, std::make_shared<Adversaries>(), momentum).run();
  run.settings.work_dir = broken.path();
  run.settings.train.stop_at = 4;
  adversarial(run.settings, std::make_shared<Adversaries>(), momentum).run();
  const auto state = io::read_safetensors(broken / "step_4/optimizer.safetensors").tensors;
  EXPECT_NO_THROW(get(state, "discriminator/discriminator.momentum_buffer"));
  EXPECT_NO_THROW(get(state, "generator/generator.momentum_buffer"));
  run.settings.train.stop_at.reset();
  run.settings.resume = broken / "step_4";
  adversarial(run.settings, std::make_shared<Adversaries>(), momentum).run();
  expect_same_run(straight.path(), broken.path(), 6);
}

// ---------------------------------------------------------------- mixed precision

TEST(Amp, ComputesInBfloat16AndLosesNothingElse) {
  struct Watching final : StubModel {
    Losses loss(const Batch& batch, TrainContext& context) override {
      const at::Tensor out = logits(batch);
      seen = out.scalar_type();
      Losses losses = StubModel::loss(batch, context);
      loss_seen = losses.total().scalar_type();
      return losses;
    }
    Outputs predict(const Batch& batch) override {
      predicted = logits(batch).scalar_type();
      return StubModel::predict(batch);
    }
    at::ScalarType seen = at::kFloat, loss_seen = at::kHalf, predicted = at::kHalf;
  };
  const TempDir folder, plain;
  StubRun run(folder.path(), 40);
  run.settings.train.log_interval = 10;
  run.settings.train.amp = AmpOptions{};
  auto model = std::make_shared<Watching>();
  EXPECT_EQ(run.make(model).run(), RunEnd::finished);
  EXPECT_EQ(model->seen, at::kBFloat16);
  EXPECT_EQ(model->loss_seen, at::kFloat);
  EXPECT_EQ(model->predicted, at::kFloat);  // scores are those that tools/test gives
  for (const at::Tensor& parameter : model->parameters()) {
    EXPECT_EQ(parameter.scalar_type(), at::kFloat);
  }
  // bfloat16 keeps 8 bits: the way down is the same to about a per cent.
  run.settings.work_dir = plain.path();
  run.settings.train.amp.reset();
  run.make().run();
  const auto loss_of = [](const TempDir& one) {
    std::istringstream lines(read_text(one / "scalars.jsonl"));
    double loss = 0.0;
    for (std::string line; std::getline(lines, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains("loss")) loss = json.at("loss").get<double>();
    }
    return loss;
  };
  EXPECT_NEAR(loss_of(folder), loss_of(plain), 0.03);
}

TEST(Amp, TheScaleFollowsPyTorchsRule) {
  GradScaler scaler({"fp16", 8.0, 2});
  at::Tensor gradient = at::tensor({8.0F, -16.0F});
  EXPECT_TRUE(scaler.unscale({gradient}));
  EXPECT_TRUE(at::equal(gradient, at::tensor({1.0F, -2.0F})));
  at::Tensor bad = at::tensor({1.0F, std::numeric_limits<float>::infinity()});
  EXPECT_FALSE(scaler.unscale({gradient, bad}));
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 8.0);
  scaler.update(false);
  EXPECT_EQ(scaler.scale(), 16.0);  // two good steps
  scaler.update(false);
  scaler.update(true);
  EXPECT_EQ(scaler.scale(), 8.0);
  GradScaler again({"fp16", 1.0, 2});
  scaler.update(false);
  again.load(scaler.save());
  again.update(false);
  EXPECT_EQ(again.scale(), 16.0);  // the good step before counts
}

/// Its gradient overflows in the batches whose numbers are given.
struct Overflowing final : StubModel {
  explicit Overflowing(std::set<std::string> numbers) : bad(std::move(numbers)) {}
  Losses loss(const Batch& batch, TrainContext& context) override {
    Losses losses = StubModel::loss(batch, context);
    if (bad.empty() || bad.count(batch.meta.front().name) > 0) {
      losses.add("head.loss_big", head->weight.sum() * std::numeric_limits<float>::infinity());
    }
    return losses;
  }
  std::set<std::string> bad;  // empty: all
};

bool half_convolutions_work(std::string& reason) {
  try {
    const Autocast half(c10::kCPU, at::kHalf);
    StubModel model;
    model.logits(stub_batch(0)).to(at::kFloat).sum().backward();
    return true;
  } catch (const std::exception& error) {
    reason = error.what();
    return false;
  }
}

TEST(Amp, AnOverflowLeavesTheStepOutAndTheScheduleWhereItWas) {
  std::string reason;
  if (!half_convolutions_work(reason)) GTEST_SKIP() << "no half precision here: " << reason;
  const TempDir straight, broken;
  StubRun run(straight.path(), 6);
  run.settings.train.amp = AmpOptions{"fp16", 1024.0, 2000};
  run.settings.train.log_interval = 1;
  run.settings.validation_interval = 3;
  const auto model = [] {
    return std::make_shared<Overflowing>(std::set<std::string>{"2a", "3a"});
  };
  EXPECT_EQ(run.make(model()).run(), RunEnd::finished);
  const auto state = nlohmann::json::parse(read_text(straight / "step_6/state.json"));
  EXPECT_EQ(state.at("step"), 6);
  EXPECT_EQ(state.at("batches"), 8);  // two were left out
  EXPECT_EQ(nlohmann::json::parse(state.at("scaler").get<std::string>()).at("scale"), 256.0);
  std::istringstream lines(read_text(straight / "scalars.jsonl"));
  std::int64_t step = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("loss")) continue;
    EXPECT_EQ(json.at("step"), ++step);
    EXPECT_TRUE(json.at("loss").is_number()) << line;
  }
  EXPECT_EQ(step, 6);
  EXPECT_NE(read_text(straight / "train.log")
                .find("gradients overflowed after step 2: the step was left out"),
            std::string::npos);
  // A run cut right before the batches that overflow goes on in the same bytes.
  run.settings.work_dir = broken.path();
  run.settings.train.stop_at = 2;
  run.make(model()).run();
  run.settings.train.stop_at.reset();
  run.settings.resume = broken / "step_2";
  run.make(model()).run();
  expect_same_run(straight.path(), broken.path(), 6);
}

TEST(Amp, GradientsThatAreNeverFiniteEndTheRun) {
  std::string reason;
  if (!half_convolutions_work(reason)) GTEST_SKIP() << "no half precision here: " << reason;
  const TempDir folder;
  StubRun run(folder.path(), 6);
  run.settings.train.amp = AmpOptions{"fp16", 1024.0, 2000};
  const std::string text = tests::message_of(
      [&] { run.make(std::make_shared<Overflowing>(std::set<std::string>{})).run(); });
  EXPECT_TRUE(text.starts_with(folder.path() +
                               ": no gradient was finite in 41 steps in a row after step 0, at the "
                               "last with pictures/40a.png, pictures/40b.png; "))
      << text;
}

}  // namespace
}  // namespace strata::engine
