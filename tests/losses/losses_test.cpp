// Losses by hand, against the reference implementations' numbers, and at their edges.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/ops/softmax_cross_entropy.hpp"
#include "losses/default_loss.hpp"
#include "losses/joint_loss.hpp"
#include "losses/loss.hpp"
#include "tests/support/build.hpp"
#include "tests/support/gradcheck.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

LabelSpec land(std::int64_t classes, std::int64_t ignore_index = 255) {
  LabelSpec label = label_of("land", classes);
  label.ignore_index = ignore_index;
  return label;
}

std::shared_ptr<Loss> make_loss(const std::string& table, const LabelSpec& label,
                                std::int64_t channels) {
  return bind_slot<Loss>("loss = " + table + "\n", "loss").build({label, channels});
}

std::string error_of(const std::string& table, const LabelSpec& label, std::int64_t channels) {
  return message_of([&] { make_loss(table, label, channels); });
}

double value(Loss& loss, const at::Tensor& logits, const at::Tensor& target,
             const at::Tensor& pixel_weight = {}) {
  TrainContext context;
  return loss.forward(logits, target, pixel_weight, context).item<double>();
}

// Three classes, four pixels: logits log(1, 2, 5) at pixel 0 give probabilities 1/8, 1/4, 5/8.
const at::Tensor kLogits = at::tensor({1.0, 1.0, 1.0, 3.0,  //
                                       2.0, 1.0, 3.0, 1.0,  //
                                       5.0, 2.0, 4.0, 6.0})
                               .to(at::kDouble)
                               .log()
                               .view({1, 3, 1, 4});
const at::Tensor kTarget = at::tensor({2, 0, 1, 255}, at::kLong).view({1, 1, 4});

TEST(CrossEntropyLoss, IsTheMeanOverValidPixels) {
  auto loss = make_loss("{type = \"CrossEntropyLoss\"}", land(3), 3);
  const double sum = -std::log(5.0 / 8) - std::log(1.0 / 4) - std::log(3.0 / 8);
  EXPECT_NEAR(value(*loss, kLogits, kTarget), sum / 3, 1e-15);
  EXPECT_EQ(loss->term(), "ce");
}

TEST(CrossEntropyLoss, CanCountIgnoredPixelsAsMmsegDoes) {
  auto loss = make_loss("{type = \"CrossEntropyLoss\", average = \"all\"}", land(3), 3);
  const double sum = -std::log(5.0 / 8) - std::log(1.0 / 4) - std::log(3.0 / 8);
  EXPECT_NEAR(value(*loss, kLogits, kTarget), sum / 4, 1e-15);
}

TEST(CrossEntropyLoss, DividesByTheSumOfClassWeights) {
  const double sum = -3 * std::log(5.0 / 8) - std::log(1.0 / 4) - 2 * std::log(3.0 / 8);
  auto valid =
      make_loss("{type = \"CrossEntropyLoss\", class_weight = [1.0, 2.0, 3.0]}", land(3), 3);
  EXPECT_NEAR(value(*valid, kLogits, kTarget), sum / 6, 1e-15);
  auto all =
      make_loss("{type = \"CrossEntropyLoss\", class_weight = [1.0, 2.0, 3.0], average = \"all\"}",
                land(3), 3);
  EXPECT_NEAR(value(*all, kLogits, kTarget), sum / 7, 1e-15);
}

TEST(CrossEntropyLoss, PixelWeightsLeaveTheDivisorAlone) {
  auto loss = make_loss("{type = \"CrossEntropyLoss\"}", land(3), 3);
  const at::Tensor weight = at::tensor({2.0, 0.0, 1.0, 9.0}, at::kDouble).view({1, 1, 4});
  const double sum = -2 * std::log(5.0 / 8) - std::log(3.0 / 8);
  EXPECT_NEAR(value(*loss, kLogits, kTarget, weight), sum / 3, 1e-15);
}

TEST(CrossEntropyLoss, SmoothingSpreadsTheTarget) {
  auto loss = make_loss("{type = \"CrossEntropyLoss\", label_smoothing = 0.3}", land(3), 3);
  const at::Tensor target = at::tensor({2, 255, 255, 255}, at::kLong).view({1, 1, 4});
  const double want = -0.8 * std::log(5.0 / 8) - 0.1 * std::log(1.0 / 8) - 0.1 * std::log(1.0 / 4);
  EXPECT_NEAR(value(*loss, kLogits, target), want, 1e-15);
}

TEST(CrossEntropyLoss, IgnoresWhateverValueTheLabelSays) {
  auto loss =
      make_loss("{type = \"CrossEntropyLoss\", class_weight = [1.0, 2.0, 3.0]}", land(3, 0), 3);
  const at::Tensor target = at::tensor({2, 0, 1, 0}, at::kLong).view({1, 1, 4});
  const double sum = -3 * std::log(5.0 / 8) - 2 * std::log(3.0 / 8);
  EXPECT_NEAR(value(*loss, kLogits, target), sum / 5, 1e-15);
}

TEST(BinaryCrossEntropyLoss, OneChannelAsksForClassOne) {
  const at::Tensor logits =
      at::tensor({0.0, std::log(3.0), -std::log(4.0), 5.0}).view({1, 1, 1, 4});
  const at::Tensor target = at::tensor({1, 0, 1, 255}, at::kLong).view({1, 1, 4});
  auto plain = make_loss("{type = \"BinaryCrossEntropyLoss\"}", land(2), 1);
  EXPECT_NEAR(value(*plain, logits.to(at::kDouble), target),
              (std::log(2.0) + std::log(4.0) + std::log(5.0)) / 3, 1e-7);
  auto weighted =
      make_loss("{type = \"BinaryCrossEntropyLoss\", class_weight = [1.0, 2.0]}", land(2), 1);
  EXPECT_NEAR(value(*weighted, logits.to(at::kDouble), target),
              (2 * std::log(2.0) + std::log(4.0) + 2 * std::log(5.0)) / 3, 1e-7);
}

TEST(BinaryCrossEntropyLoss, SeveralChannelsAskForEachClass) {
  const at::Tensor logits = at::zeros({1, 3, 1, 4}, at::kDouble);
  auto loss =
      make_loss("{type = \"BinaryCrossEntropyLoss\", class_weight = [1.0, 1.0, 4.0]}", land(3), 3);
  EXPECT_NEAR(value(*loss, logits, kTarget), std::log(2.0) * 2, 1e-15);
}

TEST(DiceLoss, IsTheMeanOverClasses) {
  // Probabilities of two classes at three pixels, the third ignored.
  const at::Tensor p = at::tensor({0.75, 0.5, 0.1}, at::kDouble);
  const at::Tensor logits = at::stack({p.log(), (1 - p).log()}).view({1, 2, 1, 3});
  const at::Tensor target = at::tensor({0, 1, 255}, at::kLong).view({1, 1, 3});
  auto linear =
      make_loss("{type = \"DiceLoss\", exponent = 1.0, smooth = 1.0, eps = 0.0}", land(2), 2);
  EXPECT_NEAR(value(*linear, logits, target),
              1 - ((2 * 0.75 + 1) / (1.25 + 1 + 1) + (2 * 0.5 + 1) / (0.75 + 1 + 1)) / 2, 1e-12);
  auto squared = make_loss("{type = \"DiceLoss\", eps = 0.01}", land(2), 2);
  EXPECT_NEAR(value(*squared, logits, target),
              1 - (1.5 / (0.5625 + 0.25 + 1 + 0.02) + 1.0 / (0.0625 + 0.25 + 1 + 0.02)) / 2, 1e-12);
}

TEST(DiceLoss, CountsOnlySamplesThatHaveValidPixels) {
  auto loss = make_loss("{type = \"DiceLoss\", per = \"sample\"}", land(3), 3);
  const at::Tensor logits = kLogits.repeat({2, 1, 1, 1});
  const at::Tensor target = at::cat({kTarget, at::full_like(kTarget, 255)});
  EXPECT_NEAR(value(*loss, logits, target), value(*loss, kLogits, kTarget), 1e-15);
}

// Numbers of ever's functions, which torchange trains with.
TEST(EveryLoss, GivesTorchangesGoldenValues) {
  const at::Tensor binary = at::tensor({2.0, -1.0, 0.5, -3.0}, at::kDouble).view({1, 1, 1, 4});
  const at::Tensor answers = at::tensor({1, 0, 1, 255}, at::kLong).view({1, 1, 4});
  const std::string dice = "{type = \"DiceLoss\", exponent = 1.0, smooth = 1.0, eps = 0.0}";
  for (const auto& [table, want] : std::vector<std::pair<std::string, double>>{
           {dice, 0.160447039},
           {"{type = \"TverskyLoss\"}", 0.132650515},
           {"{type = \"TverskyLoss\", gamma = 0.75}", 0.219802033},
           {"{type = \"TverskyLoss\", gamma = 2.0}", 0.017596159},
           {"{type = \"TverskyLoss\", missed = 0.7}", 0.146129850},
           {"{type = \"TverskyLoss\", missed = 0.7, false_alarm = 0.3}", 0.146129850},
           {"{type = \"BinaryCrossEntropyLoss\"}", 0.304755561},
           {"{type = \"BinaryCrossEntropyLoss\", label_smoothing = 0.1}", 0.421422228}}) {
    EXPECT_NEAR(value(*make_loss(table, land(2), 1), binary, answers), want, 1e-9) << table;
  }
  const at::Tensor logits =
      at::tensor({1., 0., 5., 0., 2., 5., -1., 0., 5.}, at::kDouble).view({1, 3, 1, 3});
  const at::Tensor classes = at::tensor({0, 2, 255}, at::kLong).view({1, 1, 3});
  EXPECT_NEAR(value(*make_loss("{type = \"CrossEntropyLoss\"}", land(3), 3), logits, classes),
              1.323575365, 1e-9);
  EXPECT_NEAR(value(*make_loss(dice, land(3), 3), logits, classes), 0.371589034, 1e-9);
}

TEST(FocalLoss, WeighsWhatIsWrong) {
  // p of what is right: 3/4 (class 1), 1/5 (class 0).
  const at::Tensor logits =
      at::tensor({std::log(3.0), std::log(4.0), 9.0}, at::kDouble).view({1, 1, 1, 3});
  const at::Tensor target = at::tensor({1, 0, 255}, at::kLong).view({1, 1, 3});
  const double one = -std::log(0.75), other = -std::log(0.2);
  auto focal = make_loss("{type = \"FocalLoss\", alpha = 0.25}", land(2), 1);
  EXPECT_NEAR(value(*focal, logits, target),
              (0.25 * one / 16 + 0.75 * other * 0.64) / 2, 1e-12);
  auto plain = make_loss("{type = \"FocalLoss\", gamma = 0.0}", land(2), 1);
  EXPECT_NEAR(value(*plain, logits, target), (one + other) / 4, 1e-12);
  auto softmax =
      make_loss("{type = \"FocalLoss\", use_sigmoid = false, alpha = 1.0, gamma = 1.0}", land(3), 3);
  EXPECT_NEAR(value(*softmax, kLogits, kTarget),
              -(3.0 / 8 * std::log(5.0 / 8) + 0.75 * std::log(1.0 / 4) + 5.0 / 8 * std::log(3.0 / 8)) / 3,
              1e-12);
}

// What is right to the last bit has no slope, and a root there would have an infinite one.
TEST(TverskyLoss, HasAFiniteGradientWhereAllIsRight) {
  for (const char* type : {"{type = \"TverskyLoss\", gamma = 0.5}", "{type = \"FocalLoss\", gamma = 0.5}"}) {
    at::Tensor logits = at::full({1, 1, 2, 2}, 200.0F).requires_grad_();
    TrainContext context;
    make_loss(type, land(2), 1)
        ->forward(logits, at::ones({1, 2, 2}, at::kLong), {}, context)
        .backward();
    EXPECT_TRUE(logits.grad().isfinite().all().item<bool>()) << type;
  }
}

struct Variant {
  std::string table;
  std::int64_t classes, channels;
};
const std::vector<Variant> kVariants = {
    {"{type = \"CrossEntropyLoss\"}", 4, 4},
    {"{type = \"CrossEntropyLoss\", class_weight = [0.5, 1.0, 2.0, 0.0], label_smoothing = 0.1, "
     "average = \"all\"}",
     4, 4},
    {"{type = \"BinaryCrossEntropyLoss\", pos_weight = 3.0}", 4, 4},
    {"{type = \"BinaryCrossEntropyLoss\", class_weight = [1.0, 5.0]}", 2, 1},
    {"{type = \"DiceLoss\"}", 4, 4},
    {"{type = \"DiceLoss\", exponent = 1.5, smooth = 0.5, average = \"all\"}", 4, 4},
    {"{type = \"DiceLoss\", per = \"sample\", use_sigmoid = true}", 4, 4},
    {"{type = \"DiceLoss\"}", 2, 1},
    {"{type = \"BinaryCrossEntropyLoss\", label_smoothing = 0.1}", 2, 1},
    {"{type = \"TverskyLoss\", missed = 0.7}", 4, 4},
    {"{type = \"TverskyLoss\", missed = 0.3, false_alarm = 1.5, gamma = 0.75}", 4, 4},
    {"{type = \"TverskyLoss\", gamma = 2.0}", 2, 1},
    {"{type = \"FocalLoss\"}", 2, 1},
    {"{type = \"FocalLoss\", alpha = [0.25, 0.5, 0.75, 1.0], gamma = 1.5}", 4, 4},
    {"{type = \"FocalLoss\", use_sigmoid = false, class_weight = [1.0, 2.0, 0.5, 1.0]}", 4, 4},
};

TEST(EveryLoss, HasTheGradientOfItsValue) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.table);
    auto loss = make_loss(variant.table, land(variant.classes), variant.channels);
    const at::Tensor target = parity::label_value("label", {2, 3, 4}, variant.classes, 255);
    const at::Tensor weight = parity::uniform("weight", {2, 3, 4}) + 1;
    TrainContext context;
    expect_gradient([&](const at::Tensor& x) { return loss->forward(x, target, {}, context); },
                    2 * parity::uniform("logits", {2, variant.channels, 3, 4}));
    expect_gradient([&](const at::Tensor& x) { return loss->forward(x, target, weight, context); },
                    2 * parity::uniform("logits", {2, variant.channels, 3, 4}));
  }
}

TEST(EveryLoss, IsZeroWithZeroGradientWhenNothingIsValid) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.table);
    auto loss = make_loss(variant.table, land(variant.classes), variant.channels);
    at::Tensor logits = at::randn({2, variant.channels, 3, 4}).requires_grad_();
    TrainContext context;
    const at::Tensor sum = loss->forward(logits, at::full({2, 3, 4}, 255, at::kLong), {}, context);
    EXPECT_EQ(sum.item<float>(), 0);
    sum.backward();
    EXPECT_TRUE(logits.grad().eq(0).all().item<bool>());
  }
}

TEST(EveryLoss, IsTheSameInAnyMemoryFormatAndInHalfPrecision) {
  for (const Variant& variant : kVariants) {
    SCOPED_TRACE(variant.table);
    auto loss = make_loss(variant.table, land(variant.classes), variant.channels);
    const at::Tensor target = parity::label_value("label", {2, 8, 8}, variant.classes, 255);
    const at::Tensor half =
        parity::uniform("logits", {2, variant.channels, 8, 8}).to(at::kBFloat16);
    const double want = value(*loss, half.to(at::kDouble), target);
    EXPECT_NEAR(value(*loss, half, target), want, 1e-6 * want);
    EXPECT_NEAR(
        value(*loss, half.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast), target), want,
        1e-6 * want);
  }
}

// Two ranks with different numbers of valid pixels must add up to the mean over both.
TEST(EveryLoss, IsAMeanOverAllRanks) {
  struct Ranks : TrainContext {
    at::Tensor total;
    bool counting = true;
    using TrainContext::global_count;
    at::Tensor global_count(const at::Tensor& count) override {
      if (counting) total = total.defined() ? total + count : count.clone();
      return total;
    }
  };
  for (const Variant& variant : kVariants) {
    if (variant.table.find("Dice") != std::string::npos) continue;  // a ratio, not a mean of pixels
    if (variant.table.find("Tversky") != std::string::npos) continue;
    SCOPED_TRACE(variant.table);
    auto loss = make_loss(variant.table, land(variant.classes), variant.channels);
    const at::Tensor target = parity::label_value("label", {3, 8, 8}, variant.classes, 255);
    const at::Tensor logits = parity::uniform("logits", {3, variant.channels, 8, 8});
    Ranks ranks;
    const auto part = [&](std::int64_t from, std::int64_t count) {
      return loss->forward(logits.narrow(0, from, count), target.narrow(0, from, count), {}, ranks)
          .item<double>();
    };
    part(0, 1);
    part(1, 2);
    ranks.counting = false;
    EXPECT_NEAR(part(0, 1) + part(1, 2), value(*loss, logits, target), 1e-12);
  }
}

TEST(EveryLoss, MatchesTheReference) {
  std::ifstream stream(STRATA_SOURCE_DIR "/tests/data/parity/losses.json");
  int compared = 0;
  for (const auto& entry : nlohmann::json::parse(stream)) {
    const std::string name = entry.at("name");
    SCOPED_TRACE(name);
    const auto& options = entry.at("options");
    const bool dice = name.starts_with("dice");
    std::string table;
    if (dice) {
      // mmseg adds eps once in all in its naive form, and to both sums of the other.
      table = options.at("naive_dice").get<bool>()
                  ? "{type = \"DiceLoss\", exponent = 1.0, smooth = 1e-3, eps = 0.0"
                  : "{type = \"DiceLoss\", eps = 1e-3";
      table += ", per = \"sample\"";
      table += name.ends_with("masked") ? "" : ", average = \"all\"";
      table += options.at("use_sigmoid").get<bool>() ? ", use_sigmoid = true" : "";
    } else {
      const bool binary = options.value("use_sigmoid", false);
      table = binary ? "{type = \"BinaryCrossEntropyLoss\"" : "{type = \"CrossEntropyLoss\"";
      for (const char* key : {"average", "class_weight", "label_smoothing", "pos_weight"}) {
        if (options.contains(key)) table += ", " + std::string(key) + " = " + options[key].dump();
      }
    }
    const std::vector<std::int64_t> shape = entry.at("logits_shape");
    const std::int64_t classes = entry.at("num_classes");
    const std::int64_t ignore =
        entry.at("label_ignore").is_null() ? -1 : entry["label_ignore"].get<std::int64_t>();
    auto loss = make_loss(table + "}", land(classes), shape[1]);
    at::Tensor logits = (3 * parity::uniform("logits", shape)).requires_grad_();
    const at::Tensor target =
        parity::label_value("label", {shape[0], shape[2], shape[3]}, classes, ignore);
    at::Tensor weight;
    if (!entry.at("uses").empty()) {
      // mmseg casts pixel weights to float32.
      weight = ((parity::uniform("weight", {shape[0], shape[2], shape[3]}) + 1) / 2).to(at::kFloat);
    }
    TrainContext context;
    const at::Tensor got = loss->forward(logits, target, weight, context);
    got.backward();
    const double want = entry.at("value");
    const double norm = entry.at("grad_norm");
    // mmseg's BCE and Dice turn the target to float32 and with it a part of the result, whatever
    // the logits are: those numbers are good to one rounding.
    const bool rounded = entry.at("source").get<std::string>().starts_with("mmseg ") &&
                         (dice || name.starts_with("bce"));
    const double value_limit = (rounded ? 0x1p-24 : 1e-10) * want;
    const double grad_limit = (rounded ? 0x1p-24 : 1e-8) * norm;
    EXPECT_NEAR(got.item<double>(), want, value_limit);
    EXPECT_NEAR(logits.grad().norm().item<double>(), norm, grad_limit);
    for (std::size_t k = 0; k < entry.at("grad_proj").size(); ++k) {
      const at::Tensor probe = parity::uniform("grad.logits#" + std::to_string(k), shape);
      EXPECT_NEAR((logits.grad() * probe).sum().item<double>(), entry["grad_proj"][k].get<double>(),
                  grad_limit);
    }
    ++compared;
  }
  EXPECT_EQ(compared, 24);
}

TEST(EveryLoss, RefusesALabelThatIsNoClass) {
  auto loss = make_loss("{type = \"CrossEntropyLoss\"}", land(3), 3);
  TrainContext context;
  EXPECT_EQ(
      message_of([&] {
        loss->forward(kLogits, at::tensor({0, 1, 2, 3}, at::kLong).view({1, 1, 4}), {}, context);
      }),
      "a label map holds 3, but there are 3 classes and ignore_index is "
      "255; see data.labels");
}

TEST(EveryLoss, SaysWhatDoesNotFit) {
  EXPECT_EQ(error_of("{type = \"CrossEntropyLoss\"}", land(2), 1),
            "test.toml:1:8: loss: compares classes, got one channel from the head; use "
            "BinaryCrossEntropyLoss, or out_channels = 2 in the head");
  EXPECT_EQ(error_of("{type = \"CrossEntropyLoss\", use_sigmoid = true}", land(2), 2),
            "test.toml:1:50: loss.use_sigmoid: compares classes by softmax, got true; use type = "
            "\"BinaryCrossEntropyLoss\"");
  EXPECT_EQ(error_of("{type = \"CrossEntropyLoss\", class_weight = [1.0, 2.0]}", land(3), 3),
            "test.toml:1:51: loss.class_weight: needs 3 values, one a class, got 2");
  EXPECT_EQ(error_of("{type = \"BinaryCrossEntropyLoss\"}", land(3), 1),
            "test.toml:1:8: loss: one channel tells two classes apart, got label \"land\" with 3; "
            "leave out_channels of the head out");
  EXPECT_EQ(
      error_of("{type = \"DiceLoss\", use_sigmoid = false}", land(2), 1),
      "test.toml:1:42: loss.use_sigmoid: softmax of one channel is always 1, got false; set it "
      "true");
  EXPECT_EQ(error_of("{type = \"DiceLoss\", loss_name = \"a.b\"}", land(2), 2),
            "test.toml:1:40: loss.loss_name: must have no dot, got \"a.b\"");
}

LabelSpecs change_labels(std::int64_t classes) {
  config::Named<LabelSpec> named;
  for (const LabelSpec& label : {label_of("a", classes), label_of("b", classes, "semantic", 1),
                                 label_of("change", 2, "change")}) {
    named.emplace_back(label.name, label);
  }
  return LabelSpecs(std::move(named));
}

std::shared_ptr<JointLoss> consistency(const std::string& more, const LabelSpecs& labels) {
  return bind_slot<JointLoss>("loss = {type = \"SemanticConsistencyLoss\"" + more + "}\n", "loss")
      .build({labels});
}

Outputs predictions_of(const at::Tensor& a, const at::Tensor& b) {
  Outputs outputs;
  outputs.emplace_back("a.logits", Output{.data = a, .target = "a"});
  outputs.emplace_back("b.logits", Output{.data = b, .target = "b"});
  return outputs;
}

Batch batch_of(const at::Tensor& change, const LabelSpecs& labels) {
  Batch batch;
  batch.targets["change"] = {change, *labels.find("change")};
  return batch;
}

TEST(SemanticConsistencyLoss, GivesTorchangesGoldenValue) {
  const LabelSpecs labels = change_labels(3);
  const at::Tensor a = at::tensor({1., 0., 0., 2., -1., 0.}, at::kDouble).view({1, 3, 1, 2});
  const at::Tensor b = at::tensor({0., 0., 2., 2., 0., 0.}, at::kDouble).view({1, 3, 1, 2});
  const auto loss = consistency("", labels);
  EXPECT_EQ(loss->term(), "sc_mse");
  TrainContext context;
  const at::Tensor change = at::tensor({1, 0}, at::kLong).view({1, 1, 2});
  EXPECT_NEAR(loss->forward(predictions_of(a, b), batch_of(change, labels), context).item<double>(),
              0.398916933, 1e-9);
  // Ignored pixels leave it as it is, whatever they predict.
  const auto with = [](const at::Tensor& x, double v) {
    return at::cat({x, at::full({1, 3, 1, 1}, v, at::kDouble).cumsum(1)}, 3);
  };
  const at::Tensor more = at::tensor({1, 0, 255}, at::kLong).view({1, 1, 3});
  EXPECT_NEAR(loss->forward(predictions_of(with(a, 3), with(b, -2)), batch_of(more, labels), context)
                  .item<double>(),
              0.398916933, 1e-9);
}

TEST(SemanticConsistencyLoss, HasItsGradientAndNoneWhereNothingIsValid) {
  const LabelSpecs labels = change_labels(3);
  const auto loss = consistency(", change = \"change\", targets = [\"b\", \"a\"]", labels);
  const at::Tensor other = parity::uniform("b", {1, 3, 2, 3});
  TrainContext context;
  const at::Tensor change = at::tensor({1, 0, 255, 0, 1, 1}, at::kLong).view({1, 2, 3});
  expect_gradient(
      [&](const at::Tensor& x) {
        return loss->forward(predictions_of(x, other), batch_of(change, labels), context);
      },
      parity::uniform("a", {1, 3, 2, 3}));
  at::Tensor x = at::randn({1, 3, 2, 3}).requires_grad_();
  const at::Tensor zero = loss->forward(
      predictions_of(x, other.to(at::kFloat)),
      batch_of(at::full({1, 2, 3}, 255, at::kLong), labels), context);
  EXPECT_EQ(zero.item<float>(), 0);
  zero.backward();
  EXPECT_TRUE(x.grad().eq(0).all().item<bool>());
}

TEST(SemanticConsistencyLoss, SaysWhatItNeeds) {
  const auto error = [](const std::string& more, const LabelSpecs& labels) {
    return message_of([&] { consistency(more, labels); });
  };
  EXPECT_EQ(error("", LabelSpecs(config::Named<LabelSpec>{{"a", label_of("a", 3)}})),
            "test.toml:1:8: loss.targets: two semantic labels are needed, one of each date, there "
            "are 1");
  EXPECT_EQ(error(", change = \"chnge\"", change_labels(3)),
            "test.toml:1:52: loss.change: no such label, got \"chnge\"");
}

TEST(DefaultLoss, FollowsTheChannels) {
  EXPECT_EQ(losses::default_loss({land(5), 5})->term(), "ce");
  EXPECT_EQ(losses::default_loss({land(2), 1})->term(), "bce");
}

}  // namespace
}  // namespace strata::tests
