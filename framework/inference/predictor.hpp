// Models as they are served: in windows, in views, several together.
#pragma once

#include <memory>
#include <vector>

#include "framework/inference/merge.hpp"
#include "framework/inference/options.hpp"
#include "framework/inference/slide.hpp"
#include "framework/model/model.hpp"
#include "framework/nn/fold_cache.hpp"

namespace strata::inference {

/// Where and how a model wants its batches.
struct Placement {
  c10::Device device = c10::kCPU;
  bool channels_last = false;
};

/// A model with the inference settings of its config; `tta.enabled` decides whether views count.
struct Member {
  std::shared_ptr<Model> model;  // in eval mode, on its device
  InferenceOptions inference;
  TtaOptions tta;
  Placement placement;
  /// Given, its weights do not change any more: what batch norms fold into is kept.
  std::shared_ptr<nn::FoldCache> folds{};
};

/// One model, or an ensemble whose results are averaged (labels: by vote). All members take the
/// same dates and predict the same labels.
class STRATA_API Predictor {
 public:
  Predictor(std::vector<Member> members, LabelSpecs labels);

  /// Results at the batch's own size; beyond the valid area of a sample they mean nothing.
  Outputs predict(const Batch& batch) const;

  /// A picture that need not be in memory, in windows of the first member's settings: see slide().
  /// Views are those of each window.
  void predict(std::int64_t height, std::int64_t width, const WindowSource& read,
               const BlockSink& write) const;

  /// The model, or the ensemble's first.
  Model& first_model() const { return *members_.front().model; }

 private:
  Outputs of_member(const Member& member, const Batch& batch) const;
  Outputs of_samples(const Member& member, const Batch& batch) const;

  std::vector<Member> members_;
  LabelSpecs labels_;
};

}  // namespace strata::inference
