// The confusion matrix of label maps, counted in integers, and the scores that come from it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/metrics/metric.hpp"

namespace strata {

/// counts[label][prediction] over all pixels whose label is not ignored.
class STRATA_API ConfusionMatrix {
 public:
  explicit ConfusionMatrix(std::int64_t classes);

  std::int64_t classes() const { return classes_; }
  std::int64_t count(std::int64_t label, std::int64_t prediction) const {
    return counts_[label * classes_ + prediction];
  }
  const std::vector<std::int64_t>& counts() const { return counts_; }
  void reset();
  /// Adds two maps of one shape, any strides, int64. Labels equal to `ignore_index` do not count;
  /// any other value outside [0, classes) throws std::logic_error (readers check labels).
  void add(const at::Tensor& prediction, const at::Tensor& label, std::int64_t ignore_index);

  std::int64_t hits(std::int64_t c) const { return count(c, c); }
  std::int64_t labelled(std::int64_t c) const;   // pixels with label c
  std::int64_t predicted(std::int64_t c) const;  // pixels with prediction c
  std::int64_t total() const;

  // Per class; NaN where the denominator is 0 (the class is in neither labels nor predictions).
  double iou(std::int64_t c) const;
  double f1(std::int64_t c) const;  // equals Dice
  double precision(std::int64_t c) const;
  double recall(std::int64_t c) const;
  /// Share of correct pixels; NaN without any.
  double accuracy() const;
  /// IoU of the classes weighted by their share of the labels; NaN without any pixel.
  double frequency_weighted_iou() const;
  /// Cohen's kappa: agreement beyond that of independent maps with the same class shares; NaN
  /// without any pixel, or when only one class occurs in both maps.
  double kappa() const;

 private:
  std::int64_t classes_;
  std::vector<std::int64_t> counts_;
};

}  // namespace strata
