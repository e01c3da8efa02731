// Metrics accumulate integers over a data set and give named numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/model/batch.hpp"
#include "registry/component.hpp"

namespace strata {

/// Named numbers in a fixed order: "iou.changed", "miou", … as fractions in [0, 1]. NaN where
/// nothing is defined (a class that never occurs).
using Scores = std::vector<std::pair<std::string, double>>;

/// Whether a score sums a set up ("miou", "city.miou") rather than being of one class ("iou.car"):
/// of all names, those with the fewest dots.
STRATA_API std::vector<bool> summaries(const Scores& scores);
/// The first of these; what decides when nothing else was said. "" without scores.
STRATA_API std::string summary_score(const Scores& scores);

/// A metric's numbers for people: classes (and their mean) against scores.
struct ScoreTable {
  std::vector<std::string> columns;                               // "IoU", "F1", …
  std::vector<std::pair<std::string, std::vector<double>>> rows;  // a class, one value a column
  Scores overall;                                                 // what belongs to no class
};
/// As aligned text; "" for an empty table.
STRATA_API std::string text_of(const ScoreTable& table);

/// counts[label * classes.size() + prediction], in pixels.
struct ConfusionTable {
  std::vector<std::string> classes;
  std::vector<std::int64_t> counts;
};

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
  /// The same names whatever was seen, also before the first update: what `evaluate.best` says is
  /// checked against them before a run.
  virtual Scores scores() const = 0;
  virtual ScoreTable table() const { return {}; }
  virtual std::optional<ConfusionTable> confusion() const { return std::nullopt; }
};

/// Whether the larger score is the better one: by `rule` "max" it is, by "min" it is not, by "auto"
/// it is unless the score's name has "loss" or "error".
STRATA_API bool more_is_better(const std::string& score, const std::string& rule);

/// Mean of the values that are not NaN; NaN when there is none.
STRATA_API double mean_of_defined(const std::vector<double>& values);
/// NaN when the denominator is 0.
STRATA_API double ratio(std::int64_t numerator, std::int64_t denominator);

/// The classes that means are taken over: those named, or all of them when none is. Throws
/// OptionError("mean_over", …) for a name that the label does not have.
STRATA_API std::vector<std::int64_t> classes_to_mean(const std::vector<std::string>& names,
                                                     const LabelSpec& label);

/// The predicted class map [N, H, W] int64 of a label, on the CPU. Throws UserError when the model
/// predicts no such label.
STRATA_API at::Tensor predicted_labels(const Outputs& outputs, const std::string& label);
/// The true one. Throws UserError when the data set has no such label.
STRATA_API at::Tensor true_labels(const Batch& batch, const std::string& label);
/// Sample `n` of such a map without padding: [height, width], contiguous.
STRATA_API at::Tensor valid_area(const at::Tensor& maps, const Batch& batch, std::int64_t n);

}  // namespace strata
