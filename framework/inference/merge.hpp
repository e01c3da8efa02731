// Results that describe the same pixels, merged by what each of them is.
#pragma once

#include <functional>
#include <vector>

#include "framework/model/batch.hpp"

namespace strata::inference {

/// What predicts: a model, or anything around one that gives results at the batch's own size.
using Predict = std::function<Outputs(const Batch&)>;

/// A running sum of results. Logits, probabilities and values add up; of labels, votes do.
class STRATA_API Sum {
 public:
  /// Adds `output`, times `weight` (broadcast to [H, W]) if defined. Results must be of one kind,
  /// shape and place.
  void add(const Output& output, const at::Tensor& weight = {});
  /// The sum divided by `total` (broadcast to [H, W]); labels: the class with the most votes, of
  /// several the lowest. Leaves the sum as it is.
  Output mean(const at::Tensor& total) const;
  Output mean(double total) const;

  /// The sum itself, [N, C, H, W]; undefined before the first add.
  at::Tensor data;

 private:
  Output like_;  // without data
};

/// What add() sums: the data, or of labels [N, H, W] one plane a class [N, classes, H, W].
STRATA_API at::Tensor summands(const Output& output);

/// Logits as probabilities; other kinds as they are.
STRATA_API Output as_probability(Output output);

/// Means of the results of several views or models, in the order of the first; logits are averaged
/// as probabilities. Results belong together by target, those without one by name. Throws UserError
/// when one lacks what another has, or has it with other classes.
STRATA_API Outputs average(const std::vector<Outputs>& all);

/// Dense results at another size: logits, probabilities and values bilinearly, labels by nearest.
STRATA_API Output resized(Output output, std::int64_t height, std::int64_t width);

/// Calls `f` with parts of a batch of at most `limit` samples, and puts the results together.
STRATA_API Outputs in_parts(const Batch& batch, std::int64_t limit, const Predict& f);
/// Samples [begin, begin + count) of a batch.
STRATA_API Batch part_of(const Batch& batch, std::int64_t begin, std::int64_t count);
/// One batch after the other; images of equal sizes.
STRATA_API Batch joined(const std::vector<Batch>& batches);

}  // namespace strata::inference
