// Stochastic depth: drops a whole residual branch per sample (Huang et al., ECCV 2016), which
// EfficientNet calls drop connect.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>

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

/// The probability of block `i` of `count` that rises linearly from 0 at the first to `last` at the
/// last; 0 for a single block.
inline double rising_drop_path(double last, std::int64_t i, std::int64_t count) {
  return count <= 1 ? 0.0 : last * (static_cast<double>(i) / static_cast<double>(count - 1));
}

}  // namespace strata::nn
