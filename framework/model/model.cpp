#include "framework/model/model.hpp"

namespace strata {

TrainContext::~TrainContext() = default;
Model::~Model() = default;

void TrainContext::backward(const at::Tensor& loss) { loss.backward(); }

Losses Model::train_step(const Batch& batch, TrainContext& context) {
  Losses losses = loss(batch, context);
  context.backward(losses.total());
  return losses;
}

}  // namespace strata
