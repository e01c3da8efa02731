// Stochastic depth: drops a whole residual branch per sample (Huang et al., ECCV 2016), which
// EfficientNet calls drop connect.
#pragma once

#include <torch/nn/module.h>

#include "framework/base/export.hpp"

namespace strata::nn {

/// While training, each sample of the batch is zeroed with `probability` and scaled by
/// 1 / (1 - probability) otherwise. In evaluation, or with probability 0, x comes back itself.
class STRATA_API DropPath final : public torch::nn::Module {
 public:
  explicit DropPath(double probability) : probability_(probability) {}
  at::Tensor forward(const at::Tensor& x) const;
  double probability() const { return probability_; }

 private:
  double probability_;
};

}  // namespace strata::nn
