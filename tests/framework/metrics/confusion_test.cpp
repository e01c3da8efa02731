#include "framework/metrics/confusion.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "registry/builtin.hpp"

namespace strata {
namespace {

at::Tensor map(std::vector<std::int64_t> values, std::int64_t height, std::int64_t width) {
  return at::tensor(values, at::kLong).reshape({height, width});
}

double score(const Scores& scores, const std::string& name) {
  for (const auto& [key, value] : scores) {
    if (key == name) return value;
  }
  ADD_FAILURE() << "no score named " << name;
  return NAN;
}

TEST(ConfusionMatrix, CountsAndScoresByHand) {
  ConfusionMatrix matrix(3);
  //            label: 0 0 0 1 1 2 9(ignored) ; prediction: 0 0 1 1 2 2 0
  matrix.add(map({0, 0, 1, 1, 2, 2, 0}, 1, 7), map({0, 0, 0, 1, 1, 2, 9}, 1, 7), 9);
  EXPECT_EQ(matrix.counts(), (std::vector<std::int64_t>{2, 1, 0, 0, 1, 1, 0, 0, 1}));
  EXPECT_DOUBLE_EQ(matrix.iou(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(matrix.iou(1), 1.0 / 3);
  EXPECT_DOUBLE_EQ(matrix.iou(2), 1.0 / 2);
  EXPECT_DOUBLE_EQ(matrix.f1(1), 1.0 / 2);
  EXPECT_DOUBLE_EQ(matrix.precision(0), 1.0);
  EXPECT_DOUBLE_EQ(matrix.recall(0), 2.0 / 3);
  EXPECT_DOUBLE_EQ(matrix.accuracy(), 4.0 / 6);
}

TEST(ConfusionMatrix, AClassThatNeverOccursIsLeftOutOfMeans) {
  ConfusionMatrix matrix(3);
  matrix.add(map({0, 1}, 1, 2), map({0, 1}, 1, 2), 255);
  EXPECT_TRUE(std::isnan(matrix.iou(2)));
  EXPECT_DOUBLE_EQ(mean_of_defined({matrix.iou(0), matrix.iou(1), matrix.iou(2)}), 1.0);
  EXPECT_TRUE(std::isnan(ConfusionMatrix(2).accuracy()));
}

TEST(ConfusionMatrix, StridesDoNotMatter) {
  const at::Tensor prediction = at::randint(0, 4, {17, 23}, at::kLong);
  const at::Tensor label = at::randint(0, 4, {17, 23}, at::kLong);
  ConfusionMatrix plain(4), strided(4);
  plain.add(prediction, label, 255);
  strided.add(prediction.t().contiguous().t(), label.t().contiguous().t(), 255);
  EXPECT_EQ(plain.counts(), strided.counts());
}

TEST(ConfusionMatrix, RefusesLabelsOutsideItsClasses) {
  ConfusionMatrix matrix(2);
  EXPECT_THROW(matrix.add(map({0}, 1, 1), map({2}, 1, 1), 255), std::logic_error);
}

// The metric, through its registered name: only the valid area counts, values are fractions.
TEST(IoUMetric, ScoresTheValidAreaOfEachSample) {
  Registry registry;
  register_builtin_components(registry);
  LabelSpec spec;
  spec.classes = {"unchanged", "changed"};
  const LabelSpecs labels({{"change", spec}});
  config::Binder binder(registry);
  Slot<Metric> slot;
  config::Table table;
  table.set("type", config::Value{std::string("IoUMetric")});
  binder.bind_slot("metric", slot, config::Value{table});
  ASSERT_TRUE(binder.problems.empty());
  auto metric = slot.build({labels});

  Batch batch;
  batch.images = {at::zeros({1, 3, 2, 3}, at::kByte)};
  batch.meta.resize(1);
  batch.meta[0].height = 2;
  batch.meta[0].width = 2;  // the third column is padding
  batch.targets["change"] = {map({0, 1, 0, 1, 1, 0}, 2, 3).unsqueeze(0), labels.get("change")};
  // Logits whose arg max is [[0, 1, 1], [0, 1, 1]].
  at::Tensor logits = at::zeros({1, 2, 2, 3});
  logits.select(1, 1).copy_(at::tensor({-1.0f, 1.0f, 1.0f, -1.0f, 1.0f, 1.0f}).reshape({1, 2, 3}));
  Outputs outputs{{"logits", {.data = logits, .target = "change"}}};
  metric->update(outputs, batch);

  const Scores scores = metric->scores();
  EXPECT_DOUBLE_EQ(score(scores, "precision.changed"), 1.0);
  EXPECT_DOUBLE_EQ(score(scores, "recall.changed"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score(scores, "f1.changed"), 0.8);
  EXPECT_DOUBLE_EQ(score(scores, "iou.changed"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score(scores, "iou.unchanged"), 0.5);
  EXPECT_DOUBLE_EQ(score(scores, "miou"), (2.0 / 3 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(score(scores, "aacc"), 0.75);
  metric->reset();
  EXPECT_TRUE(std::isnan(score(metric->scores(), "miou")));
}

}  // namespace
}  // namespace strata
