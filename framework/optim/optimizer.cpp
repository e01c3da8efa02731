#include "framework/optim/optimizer.hpp"

namespace strata {

Optimizer::~Optimizer() = default;

void Optimizer::zero_grad() {
  for (ParameterGroup& group : groups_) {
    for (at::Tensor& parameter : group.parameters) parameter.mutable_grad().reset();
  }
}

}  // namespace strata
