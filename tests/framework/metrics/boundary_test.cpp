#include <gtest/gtest.h>

#include "tests/framework/metrics/support.hpp"

namespace strata {
namespace {

using tests::label_of;
using tests::map_of;
using tests::score_of;

Scores scores_of(const std::string& toml, const std::vector<std::string>& predicted,
                 const std::vector<std::string>& truth, std::int64_t classes = 2) {
  const LabelSpecs labels({{"land", label_of(classes)}});
  const auto metric = tests::slot_of<Metric>(toml).build({labels});
  tests::update(*metric, labels, {{"land", {map_of(predicted), map_of(truth)}}});
  return metric->scores();
}

// A square of 3 x 3, predicted one column to the right: two rings of 8 pixels. Rows 1 and 3 share
// columns 2 and 3; in row 2 the truth has columns 1 and 3, the prediction 2 and 4.
TEST(BoundaryIoU, OfASquareThatIsMovedByOne) {
  const Scores scores = scores_of("type = \"BoundaryIoU\"\ntolerance = 1",
                                  {"000000", "001110", "001110", "001110", "000000"},
                                  {"000000", "011100", "011100", "011100", "000000"});
  EXPECT_DOUBLE_EQ(score_of(scores, "boundary_iou.1"), 4.0 / 12.0);
}

TEST(BoundaryIoU, TheEdgeOfTheImageIsAContour) {
  const Scores scores =
      scores_of("type = \"BoundaryIoU\"\ntolerance = 1", {"0000", "0000", "0000", "0000"},
                {"0000", "0000", "0000", "0000"});
  EXPECT_DOUBLE_EQ(score_of(scores, "boundary_iou.0"), 1.0);
  EXPECT_TRUE(std::isnan(score_of(scores, "boundary_iou.1")));
  EXPECT_DOUBLE_EQ(score_of(scores, "mboundary_iou"), 1.0);
}

// A vertical border between columns 2 and 3, in truth between 4 and 5: contours 2 pixels apart.
TEST(BoundaryF1, CountsWhatIsNearEnough) {
  const std::vector<std::string> predicted(3, "0001111111"), truth(3, "0000011111");
  for (const auto& [tolerance, want] : {std::pair{"1", 0.0}, std::pair{"2", 1.0}}) {
    const Scores scores =
        scores_of("type = \"BoundaryF1\"\ntolerance = " + std::string(tolerance), predicted, truth);
    for (const char* name :
         {"boundary_f1.0", "boundary_precision.0", "boundary_recall.1", "mboundary_f1"}) {
      EXPECT_EQ(score_of(scores, name), want) << name << " " << tolerance;
    }
  }
}

TEST(BoundaryF1, WhatAnIgnoredPixelHidesIsNoContour) {
  // The truth does not know where class 1 ends; the prediction's border is inside the unknown.
  const Scores scores = scores_of("type = \"BoundaryF1\"\ntolerance = 1",
                                  {"000011111", "000011111"}, {"00.....11", "00.....11"});
  EXPECT_TRUE(std::isnan(score_of(scores, "boundary_f1.0")));
  EXPECT_TRUE(std::isnan(score_of(scores, "mboundary_f1")));
}

TEST(BoundaryF1, AClassInOneOfTheMapsOnlyScoresNothing) {
  const Scores scores = scores_of("type = \"BoundaryF1\"\ntolerance = 1", {"000100"}, {"000000"});
  EXPECT_EQ(score_of(scores, "boundary_f1.1"), 0.0);
  EXPECT_EQ(score_of(scores, "boundary_precision.1"), 0.0);
  EXPECT_TRUE(std::isnan(score_of(scores, "boundary_recall.1")));
}

TEST(BoundaryMetrics, MeansAreTakenOverTheClassesThatAreNamed) {
  const Scores scores = scores_of("type = \"BoundaryIoU\"\ntolerance = 1\nmean_over = \"1\"",
                                  {"0011", "0011"}, {"0001", "0001"});
  EXPECT_EQ(score_of(scores, "mboundary_iou"), score_of(scores, "boundary_iou.1"));
  EXPECT_DOUBLE_EQ(score_of(scores, "mboundary_iou"), 0.5);
}

}  // namespace
}  // namespace strata
