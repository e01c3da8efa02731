// What a report shows of an evaluation: tables, confusion matrices, the best and worst predictions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/engine/evaluator.hpp"

namespace strata::engine {

/// Watches an evaluation and keeps pictures of the samples that score best and worst.
class STRATA_API EvaluationRecord {
 public:
  explicit EvaluationRecord(const LabelSpecs& labels) : labels_(labels) {}

  void clear() { sets_.clear(); }
  void add(const Visit& visit);
  /// JSON: {"what", "rank", "labels": […], "sets": [{"name", "metrics": […], "best": […],
  /// "worst": […]}]}; pictures are JPEG and PNG in base64. Read back by write_report alone.
  std::string text(const Evaluator& evaluator, const std::string& what) const;

 private:
  struct Picture {
    std::string title, type, data;  // type: "png" or "jpeg"; data: base64
  };
  struct Sample {
    std::string name;
    double score = 0;
    std::size_t number = 0;  // in the set
    std::vector<Picture> pictures;
  };
  struct Picks {
    std::size_t seen = 0;
    std::vector<Sample> best, worst;  // the first is the most extreme one
  };
  std::vector<Picture> pictures_of(const Visit& visit, std::int64_t n) const;

  LabelSpecs labels_;
  std::vector<std::pair<std::string, Picks>> sets_;
};

}  // namespace strata::engine
