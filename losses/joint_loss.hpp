// Losses that compare several predictions of a model with each other.
#pragma once

#include <string>

#include "losses/loss.hpp"

namespace strata {

/// Belongs to the segmentor (`joint_loss`), not to a head. Its options derive from TermOptions.
class STRATA_API JointLoss : public LossTerm {
 public:
  static constexpr const char* kind = "joint_loss";
  struct Context {
    LabelSpecs labels;  // what the model predicts, of all that is declared
  };
  using LossTerm::LossTerm;

  /// What the heads predict, at the size of the labels and with its graph -> unweighted scalar; 0
  /// with a graph when no pixel is valid.
  virtual at::Tensor forward(const Outputs& predictions, const Batch& batch,
                             TrainContext& context) = 0;
};

}  // namespace strata
