// Views of a picture (test-time augmentation): flipped, turned, at other sizes, dates exchanged.
#pragma once

#include <string>
#include <vector>

#include "framework/inference/merge.hpp"
#include "framework/inference/options.hpp"

namespace strata::inference {

/// One of the eight ways to lay a picture on its pixel grid: mirrored left to right or not, then
/// turned by quarters counter-clockwise.
struct Pose {
  bool mirrored = false;
  std::int64_t quarters = 0;
};

/// By its name in evaluate.tta.views.
STRATA_API Pose pose_of(const std::string& name);
/// [..., H, W] -> [..., H', W']; views or copies.
STRATA_API at::Tensor posed(const at::Tensor& pixels, const Pose& pose);
/// Undoes posed().
STRATA_API at::Tensor unposed(const at::Tensor& pixels, const Pose& pose);

/// Predicts every view of a batch and merges the results, each put back: turned, resized, and with
/// exchanged dates given to the label of the other date. Views of one size are computed together,
/// at most `limit` samples at once. Results of a single view come back as they are. Throws
/// UserError when a result has no counterpart at the other date.
STRATA_API Outputs with_views(const TtaOptions& options, const LabelSpecs& labels,
                              std::int64_t limit, const Batch& batch, const Predict& predict);

}  // namespace strata::inference
