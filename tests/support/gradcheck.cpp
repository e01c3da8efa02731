#include "tests/support/gradcheck.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

namespace strata::tests {

void expect_gradient(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x) {
  ASSERT_EQ(x.scalar_type(), at::kDouble);
  at::Tensor leaf = x.detach().clone(at::MemoryFormat::Contiguous).requires_grad_();
  f(leaf).backward();
  ASSERT_TRUE(leaf.grad().defined());
  const at::Tensor analytic = leaf.grad().contiguous();

  at::NoGradGuard no_grad;
  at::Tensor moved = leaf.detach().clone();
  at::Tensor numeric = at::empty_like(analytic);
  constexpr double kStep = 1e-6;
  for (std::int64_t i = 0; i < moved.numel(); ++i) {
    double& value = moved.data_ptr<double>()[i];
    const double at_rest = value;
    value = at_rest + kStep;
    const double above = f(moved).item<double>();
    value = at_rest - kStep;
    const double below = f(moved).item<double>();
    value = at_rest;
    numeric.data_ptr<double>()[i] = (above - below) / (2 * kStep);
  }
  const double scale = std::max(1.0, analytic.abs().max().item<double>());
  EXPECT_LE((analytic - numeric).abs().max().item<double>(), 1e-7 * scale)
      << "backward " << analytic << "\nnumeric " << numeric;
}

}  // namespace strata::tests
