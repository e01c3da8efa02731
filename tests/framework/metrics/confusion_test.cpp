#include "framework/metrics/confusion.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.hpp"
#include "tests/framework/metrics/support.hpp"

namespace strata {
namespace {

using tests::score_of;

at::Tensor map(std::vector<std::int64_t> values, std::int64_t height, std::int64_t width) {
  return at::tensor(values, at::kLong).reshape({height, width});
}

TEST(Scores, OfASetAreThoseWithTheFewestDots) {
  EXPECT_EQ(summary_score({{"iou.a", 1}, {"iou.b.c", 1}, {"miou", 1}, {"aacc", 1}}), "miou");
  EXPECT_EQ(summary_score({{"city.iou.a", 1}, {"city.miou", 1}, {"night.miou", 1}}), "city.miou");
  EXPECT_EQ(summary_score({}), "");
  EXPECT_EQ(summaries({{"city.iou.a", 1}, {"city.miou", 1}}), (std::vector<bool>{false, true}));
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
  EXPECT_DOUBLE_EQ(matrix.frequency_weighted_iou(), (3 * 2.0 / 3 + 2 * 1.0 / 3 + 1.0 / 2) / 6);
  // By chance: (3 * 2 + 2 * 2 + 1 * 2) / 36 = 1/3.
  EXPECT_DOUBLE_EQ(matrix.kappa(), (4.0 / 6 - 1.0 / 3) / (1 - 1.0 / 3));
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
  LabelSpec spec;
  spec.classes = {"unchanged", "changed"};
  const LabelSpecs labels({{"change", spec}});
  const auto metric = tests::slot_of<Metric>("type = \"IoUMetric\"").build({labels});

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
  EXPECT_DOUBLE_EQ(score_of(scores, "precision.changed"), 1.0);
  EXPECT_DOUBLE_EQ(score_of(scores, "recall.changed"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score_of(scores, "f1.changed"), 0.8);
  EXPECT_DOUBLE_EQ(score_of(scores, "iou.changed"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score_of(scores, "iou.unchanged"), 0.5);
  EXPECT_DOUBLE_EQ(score_of(scores, "miou"), (2.0 / 3 + 0.5) / 2);
  EXPECT_DOUBLE_EQ(score_of(scores, "aacc"), 0.75);
  metric->reset();
  EXPECT_TRUE(std::isnan(score_of(metric->scores(), "miou")));
}

TEST(IoUMetric, MeansAndMicroScoresAreTakenOverTheClassesThatAreNamed) {
  const LabelSpecs labels({{"land", tests::label_of(3)}});
  const auto metric =
      tests::slot_of<Metric>("type = \"IoUMetric\"\nmean_over = [\"1\", \"2\"]").build({labels});
  tests::update(*metric, labels,
                {{"land", {tests::map_of({"0011220"}), tests::map_of({"000112."})}}});
  // Counts of CountsAndScoresByHand: hits 1 + 1 of class 1 and 2, labels 2 + 1, predictions 2 + 2.
  const Scores scores = metric->scores();
  EXPECT_DOUBLE_EQ(score_of(scores, "miou"), (1.0 / 3 + 1.0 / 2) / 2);
  EXPECT_DOUBLE_EQ(score_of(scores, "micro_iou"), 2.0 / 5);
  EXPECT_DOUBLE_EQ(score_of(scores, "micro_f1"), 4.0 / 7);
  EXPECT_DOUBLE_EQ(score_of(scores, "micro_precision"), 2.0 / 4);
  EXPECT_DOUBLE_EQ(score_of(scores, "micro_recall"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(score_of(scores, "aacc"), 4.0 / 6);
}

TEST(IoUMetric, SaysWhatTheModelOrTheDataLacks) {
  const LabelSpecs labels({{"land", tests::label_of(2)}, {"water", tests::label_of(2)}});
  const auto metric = tests::slot_of<Metric>("type = \"IoUMetric\"").build({labels});
  const auto message = [&](const std::string& other) -> std::string {
    Batch batch;
    batch.images = {at::zeros({1, 3, 1, 1}, at::kByte)};
    if (other == "land") batch.targets["water"] = {at::zeros({1, 1, 1}, at::kLong), {}};
    Outputs outputs{{"logits", {.data = at::zeros({1, 2, 1, 1}), .target = other}}};
    return tests::message_of([&] { metric->update(outputs, batch); });
  };
  EXPECT_EQ(message("water"),
            "evaluate.metrics: the model does not predict the label \"land\"; it "
            "predicts: water");
  EXPECT_EQ(message("land"),
            "evaluate.metrics: the data set has no label \"land\", which a metric scores");
}

TEST(ScoreTable, IsAlignedText) {
  EXPECT_EQ(text_of({{"IoU", "precision"},
                     {{"road", {0.5, 1.0}}, {"mean", {0.25, NAN}}},
                     {{"accuracy", 0.75}}}),
            "class         IoU precision\n"
            "road       0.5000    1.0000\n"
            "mean       0.2500       nan\n"
            "accuracy   0.7500");
  EXPECT_EQ(text_of({}), "");
}

}  // namespace
}  // namespace strata
