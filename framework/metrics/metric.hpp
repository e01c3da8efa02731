// Metrics accumulate integers over a data set and give named numbers.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/model/batch.hpp"
#include "registry/component.hpp"

namespace strata {

/// Named numbers in a fixed order: "iou.changed", "miou", … as fractions in [0, 1].
using Scores = std::vector<std::pair<std::string, double>>;

class STRATA_API Metric {
 public:
  static constexpr const char* kind = "metric";
  struct Context {
    LabelSpecs labels;
  };
  virtual ~Metric();

  virtual void reset() = 0;
  /// Outputs at the batch's size; only the valid area of each sample (meta) counts.
  virtual void update(const Outputs& outputs, const Batch& batch) = 0;
  virtual Scores scores() const = 0;
  /// A table for people ("" for none).
  virtual std::string table() const { return ""; }
};

}  // namespace strata
