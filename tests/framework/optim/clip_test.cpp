#include "framework/optim/clip.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace strata::optim {
namespace {

at::Tensor with_grad(std::vector<double> gradient) {
  at::Tensor parameter =
      at::zeros({static_cast<std::int64_t>(gradient.size())}, at::kDouble).set_requires_grad(true);
  parameter.mutable_grad() = at::tensor(gradient, at::kDouble);
  return parameter;
}

TEST(Clip, NormOfAllTogether) {
  at::Tensor a = with_grad({3.0}), b = with_grad({0.0, 4.0}), none = at::zeros({5});
  const at::Tensor norm = clip_grad_norm({a, none, b}, 1.0);
  EXPECT_DOUBLE_EQ(norm.item<double>(), 5.0);
  EXPECT_NEAR(a.grad().item<double>(), 3.0 / (5.0 + 1e-6), 1e-15);
  EXPECT_NEAR(b.grad()[1].item<double>(), 4.0 / (5.0 + 1e-6), 1e-15);
}

TEST(Clip, SmallNormsStay) {
  at::Tensor a = with_grad({0.3, -0.4});
  EXPECT_DOUBLE_EQ(clip_grad_norm({a}, 0.6).item<double>(), 0.5);
  EXPECT_TRUE(at::equal(a.grad(), at::tensor({0.3, -0.4}, at::kDouble)));
  at::Tensor zero = with_grad({0.0});
  EXPECT_EQ(clip_grad_norm({zero}, 1.0).item<double>(), 0.0);
  EXPECT_EQ(clip_grad_norm({}, 1.0).item<double>(), 0.0);
}

TEST(Clip, NotFiniteIsTold) {
  at::Tensor a = with_grad({std::numeric_limits<double>::infinity()});
  EXPECT_TRUE(std::isinf(clip_grad_norm({a}, 1.0).item<double>()));
}

TEST(Clip, Value) {
  at::Tensor a = with_grad({-3.0, 0.5, 2.0}), none = at::zeros({1});
  clip_grad_value({a, none}, 1.0);
  EXPECT_TRUE(at::equal(a.grad(), at::tensor({-1.0, 0.5, 1.0}, at::kDouble)));
}

}  // namespace
}  // namespace strata::optim
