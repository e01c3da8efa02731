#include "framework/nn/drop_path.hpp"

#include <ATen/ops/empty.h>

#include <vector>

namespace strata::nn {

at::Tensor DropPath::forward(const at::Tensor& x) const {
  if (!is_training() || probability_ == 0) return x;
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  const double keep = 1 - probability_;
  return x * at::empty(shape, x.options()).bernoulli_(keep).div_(keep);
}

}  // namespace strata::nn
