#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "tests/framework/metrics/support.hpp"

namespace strata {
namespace {

using tests::label_of;
using tests::score_of;

/// Maps whose joint histogram is `counts[prediction][label]`, half of it at each date.
std::pair<at::Tensor, at::Tensor> maps_with(const std::vector<std::vector<int>>& counts) {
  std::vector<std::int64_t> predicted, truth;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (std::size_t j = 0; j < counts.size(); ++j) {
      for (int k = 0; k < counts[i][j]; ++k) {
        predicted.push_back(static_cast<std::int64_t>(i));
        truth.push_back(static_cast<std::int64_t>(j));
      }
    }
  }
  const auto size = static_cast<std::int64_t>(truth.size());
  return {at::tensor(predicted, at::kLong).reshape({1, 1, size}),
          at::tensor(truth, at::kLong).reshape({1, 1, size})};
}

LabelSpecs two_dates(std::int64_t classes) {
  return LabelSpecs(
      {{"first", label_of(classes, "semantic", 0)}, {"second", label_of(classes, "semantic", 1)}});
}

Scores scores_with(const std::string& toml, const std::vector<std::vector<int>>& first,
                   const std::vector<std::vector<int>>& second) {
  const LabelSpecs labels = two_dates(static_cast<std::int64_t>(first.size()));
  const auto metric = tests::slot_of<Metric>(toml).build({labels});
  const auto a = maps_with(first), b = maps_with(second);
  tests::update(*metric, labels, {{"first", {a.first, a.second}}, {"second", {b.first, b.second}}});
  return metric->scores();
}

const std::string kPlain = "type = \"SCDMetric\"\nunchanged = \"0\"";

// The worked examples of two independent descriptions of the protocol; 9 digits were written down.
TEST(SCDMetric, GivesThePublishedExamples) {
  // Rows are predictions; the matrix is the sum of both dates.
  const Scores one =
      scores_with(kPlain, {{25, 4, 6}, {0, 10, 2}, {3, 0, 0}}, {{25, 0, 0}, {3, 10, 0}, {2, 1, 9}});
  EXPECT_NEAR(score_of(one, "scd_iou_unchanged"), 0.735294118, 5e-10);
  EXPECT_NEAR(score_of(one, "scd_iou_changed"), 0.64, 5e-10);
  EXPECT_NEAR(score_of(one, "scd_miou"), 0.687647059, 5e-10);
  EXPECT_NEAR(score_of(one, "scd_kappa"), 0.318181818, 5e-10);
  EXPECT_NEAR(score_of(one, "sek"), 0.221987922, 5e-10);
  EXPECT_NEAR(score_of(one, "score"), 0.361685663, 5e-10);
  EXPECT_NEAR(score_of(one, "fscd"), 0.707317073, 5e-10);
  EXPECT_NEAR(score_of(one, "fscd_precision"), 0.725, 5e-10);
  EXPECT_NEAR(score_of(one, "fscd_recall"), 0.690476190, 5e-10);
  EXPECT_NEAR(score_of(one, "scd_oa"), 0.79, 5e-10);

  // The other one has labels as rows: [[50, 3, 2], [4, 20, 6], [5, 1, 9]].
  const Scores two =
      scores_with(kPlain, {{30, 4, 0}, {3, 10, 1}, {2, 0, 0}}, {{20, 0, 5}, {0, 10, 0}, {0, 6, 9}});
  EXPECT_NEAR(score_of(two, "scd_iou_unchanged"), 0.78125, 5e-8);
  EXPECT_NEAR(score_of(two, "scd_iou_changed"), 0.72, 5e-8);
  EXPECT_NEAR(score_of(two, "scd_kappa"), 0.2905405, 5e-8);
  EXPECT_NEAR(score_of(two, "sek"), 0.2195858, 5e-8);
  EXPECT_NEAR(score_of(two, "scd_miou"), 0.750625, 5e-8);
  EXPECT_NEAR(score_of(two, "score"), 0.3788976, 5e-8);
  EXPECT_NEAR(score_of(two, "fscd"), 0.6744186, 5e-8);
}

TEST(SCDMetric, APerfectPredictionScoresOne) {
  const Scores scores =
      scores_with(kPlain, {{5, 0, 0}, {0, 4, 0}, {0, 0, 0}}, {{5, 0, 0}, {0, 0, 0}, {0, 0, 4}});
  for (const char* name : {"sek", "fscd", "score", "scd_miou", "scd_kappa", "scd_oa"}) {
    EXPECT_DOUBLE_EQ(score_of(scores, name), 1.0) << name;
  }
}

TEST(SCDMetric, CallingAllUnchangedScoresNoSeK) {
  const Scores scores =
      scores_with(kPlain, {{5, 3, 1}, {0, 0, 0}, {0, 0, 0}}, {{5, 2, 2}, {0, 0, 0}, {0, 0, 0}});
  EXPECT_DOUBLE_EQ(score_of(scores, "sek"), 0.0);
  EXPECT_DOUBLE_EQ(score_of(scores, "fscd"), 0.0);
  EXPECT_DOUBLE_EQ(score_of(scores, "scd_iou_unchanged"), 10.0 / 18);
  EXPECT_DOUBLE_EQ(score_of(scores, "score"), 0.3 * (10.0 / 18) / 2);
}

TEST(SCDMetric, WithoutAnyPixelThatCountsThereIsNothing) {
  const LabelSpecs labels = two_dates(2);
  const auto metric = tests::slot_of<Metric>(kPlain).build({labels});
  const tests::Maps maps{tests::map_of({"01"}), tests::map_of({".."})};
  tests::update(*metric, labels, {{"first", maps}, {"second", maps}});
  EXPECT_DOUBLE_EQ(score_of(metric->scores(), "sek"), 0.0);
  EXPECT_TRUE(std::isnan(score_of(metric->scores(), "scd_oa")));
}

// One image of 2 pixels, all right; one of 8 pixels, half right.
TEST(SCDMetric, AccuracyIsOfAllPixelsOrAMeanOverImages) {
  for (const auto& [rule, want] : {std::pair{"pixels", 0.6}, std::pair{"images", 0.75}}) {
    const LabelSpecs labels = two_dates(3);
    const auto metric =
        tests::slot_of<Metric>(kPlain + "\naccuracy = \"" + rule + "\"").build({labels});
    const tests::Maps small{tests::map_of({"01"}), tests::map_of({"01"})};
    const tests::Maps large{tests::map_of({"00001111"}), tests::map_of({"00002222"})};
    tests::update(*metric, labels, {{"first", small}, {"second", small}});
    tests::update(*metric, labels, {{"first", large}, {"second", large}});
    EXPECT_DOUBLE_EQ(score_of(metric->scores(), "scd_oa"), want) << rule;
  }
}

// Where both predictions agree, a class map of each date says that nothing changed.
TEST(SCDMetric, ComparesTwoClassMaps) {
  LabelSpecs labels({{"first", label_of(3, "semantic", 0)},
                     {"second", label_of(3, "semantic", 1)},
                     {"land", label_of(2, "change")}});
  const auto metric =
      tests::slot_of<Metric>("type = \"SCDMetric\"\npost_classification = true").build({labels});
  // Of what changed one pixel is right at both dates, one is called unchanged; of the others one is
  // called changed. The model's own change map, all of it changed, does not count.
  tests::update(*metric, labels,
                {{"first", {tests::map_of({"0120"}), tests::map_of({"01.."})}},
                 {"second", {tests::map_of({"2122"}), tests::map_of({"20.."})}},
                 {"land", {tests::map_of({"1111"}), tests::map_of({"1100"})}}});
  // States 0 unchanged, 1 to 3 the classes; by date: predicted 1 0 0 1, true 1 2 0 0, then
  // predicted 3 0 0 3, true 3 1 0 0.
  const Scores scores = metric->scores();
  EXPECT_DOUBLE_EQ(score_of(scores, "scd_iou_unchanged"), 2.0 / 6);
  EXPECT_DOUBLE_EQ(score_of(scores, "scd_iou_changed"), 2.0 / 6);
  EXPECT_DOUBLE_EQ(score_of(scores, "fscd_precision"), 0.5);
  EXPECT_DOUBLE_EQ(score_of(scores, "fscd_recall"), 0.5);
}

std::string refusal(const std::string& toml, const LabelSpecs& labels) {
  try {
    tests::slot_of<Metric>("type = \"SCDMetric\"\n" + toml).build({labels});
  } catch (const ConfigError& error) {
    return error.problems().front().path + ": " + error.problems().front().what;
  }
  return "";
}

TEST(SCDMetric, SaysWhatItNeeds) {
  EXPECT_EQ(refusal("", two_dates(3)),
            "unchanged: is needed where no label has the role \"change\": the class that means no "
            "change");
  EXPECT_EQ(refusal("unchanged = \"0\"\npost_classification = true", two_dates(3)),
            "post_classification: needs a label of role \"change\" to compare with, got true");
  EXPECT_EQ(refusal("unchanged = \"nil\"", two_dates(3)),
            "unchanged: \"first\" has no such class, got \"nil\"");
  EXPECT_EQ(refusal("", LabelSpecs({{"land", label_of(2)}})),
            "targets: two semantic labels are needed, one of each date, there are 1");
  EXPECT_EQ(refusal("targets = [\"first\", \"secnd\"]", two_dates(3)),
            "targets: no such label, got \"secnd\"");
  EXPECT_EQ(refusal("change = \"land\"", two_dates(3)), "change: no such label, got \"land\"");
}

}  // namespace
}  // namespace strata
