// Every number against the reference on random label maps: tests/parity/metrics.py.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "framework/base/files.hpp"
#include "tests/framework/metrics/support.hpp"

namespace strata {
namespace {

using nlohmann::json;
using tests::label_of;
using tests::map_of;
using tests::score_of;

const json& golden() {
  static const json values =
      json::parse(read_text(STRATA_SOURCE_DIR "/tests/data/parity/metrics.json"));
  return values;
}

void expect_score(const Scores& scores, const std::string& name, const json& want) {
  const double got = score_of(scores, name);
  if (want.is_null()) {
    EXPECT_TRUE(std::isnan(got)) << name << " is " << got;
  } else {
    EXPECT_NEAR(got, want.get<double>(), 1e-12) << name;
  }
}

TEST(MetricsOfOneLabel, EqualTheReference) {
  for (const json& one : golden()["labels"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const LabelSpecs labels({{"land", label_of(one["classes"].get<std::int64_t>())}});
    const std::string tolerance =
        one["tolerance"].is_null() ? "" : "\ntolerance = " + one["tolerance"].dump();
    Scores scores;
    for (const std::string& toml :
         {std::string("type = \"IoUMetric\""), "type = \"BoundaryIoU\"" + tolerance,
          "type = \"BoundaryF1\"" + tolerance}) {
      const auto metric = tests::slot_of<Metric>(toml).build({labels});
      for (const json& image : one["images"]) {
        tests::update(*metric, labels,
                      {{"land", {map_of(image["prediction"]), map_of(image["truth"])}}});
      }
      for (auto& score : metric->scores()) scores.push_back(std::move(score));
      if (metric->confusion()) {
        EXPECT_EQ(metric->confusion()->counts, one["confusion"].get<std::vector<std::int64_t>>());
      }
    }
    for (const auto& [name, values] : one["per_class"].items()) {
      for (std::size_t c = 0; c < values.size(); ++c) {
        expect_score(scores, name + "." + std::to_string(c), values[c]);
      }
      expect_score(scores, "m" + name, one["mean"][name]);
    }
    for (const auto& [name, value] : one["overall"].items()) expect_score(scores, name, value);
  }
}

TEST(MetricsOfChange, EqualTheReference) {
  for (const json& one : golden()["change"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const auto classes = one["classes"].get<std::int64_t>();
    const LabelSpecs labels({{"change", label_of(2, "change")},
                             {"first", label_of(classes, "semantic", 0)},
                             {"second", label_of(classes, "semantic", 1)}});
    for (const char* rule : {"pixels", "images"}) {
      const auto metric =
          tests::slot_of<Metric>("type = \"SCDMetric\"\nfrom_to = true\naccuracy = \"" +
                                 std::string(rule) + "\"")
              .build({labels});
      for (const json& image : one["images"]) {
        tests::update(*metric, labels,
                      {{"change", {map_of(image["predicted_change"]), map_of(image["change"])}},
                       {"first", {map_of(image["prediction"][0]), map_of(image["truth"][0])}},
                       {"second", {map_of(image["prediction"][1]), map_of(image["truth"][1])}}});
      }
      const Scores scores = metric->scores();
      for (const auto& [name, value] : one["scores"].items()) expect_score(scores, name, value);
      for (std::size_t c = 0; c < one["iou"].size(); ++c) {
        expect_score(scores, "scd_iou." + std::to_string(c), one["iou"][c]);
      }
      expect_score(scores, "scd_oa", one["oa_" + std::string(rule)]);
    }
  }
}

}  // namespace
}  // namespace strata
