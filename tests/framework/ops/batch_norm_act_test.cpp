// The joined batch norm against LibTorch's separate operations.
#include "framework/ops/batch_norm_act.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

namespace strata {
namespace {

struct Case {
  std::vector<std::int64_t> shape;
  bool relu, residual;
};

at::Tensor last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

struct Outcome {
  at::Tensor y, mean, var;
  std::vector<at::Tensor> grads;  // of x, weight, bias and the residual
};

Outcome run(const Case& test, at::ScalarType type, bool joined) {
  at::manual_seed(11);
  const std::int64_t channels = test.shape[1];
  const auto options = at::TensorOptions(at::kDouble);
  // Channels with means far from zero and small spread are the hard ones.
  const at::Tensor offset = at::linspace(-40, 40, channels, options).view({1, -1, 1, 1});
  const auto leaf = [&](const at::Tensor& t) { return t.to(type).requires_grad_(); };
  at::Tensor x = leaf(last(at::randn(test.shape, options) + offset));
  at::Tensor residual = leaf(at::randn(test.shape, options));
  at::Tensor weight = leaf(at::rand({channels}, options) + 0.5);
  at::Tensor bias = leaf(at::randn({channels}, options));
  const at::Tensor probe = at::randn(test.shape, options).to(type);
  Outcome outcome;
  outcome.mean = at::ones({channels}, options).to(type);
  outcome.var = at::ones({channels}, options).to(type);
  const ops::BatchNormState state{weight, bias, outcome.mean, outcome.var, 0.3, 1e-5};
  if (joined) {
    EXPECT_TRUE(ops::can_batch_norm_act(x, state));
    outcome.y = ops::batch_norm_act(x, state, test.relu, test.residual ? residual : at::Tensor());
    EXPECT_TRUE(outcome.y.is_contiguous(at::MemoryFormat::ChannelsLast));
  } else {
    outcome.y = at::batch_norm(x, weight, bias, outcome.mean, outcome.var, true, 0.3, 1e-5, false);
    if (test.residual) outcome.y = outcome.y + residual;
    if (test.relu) outcome.y = outcome.y.relu();
  }
  (outcome.y * probe).sum().backward();
  outcome.grads = {x.grad(), weight.grad(), bias.grad()};
  if (test.residual) outcome.grads.push_back(residual.grad());
  return outcome;
}

double error(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor exact = want.to(at::kDouble);
  return ((got.to(at::kDouble) - exact).abs().max() / exact.abs().max().clamp_min(1e-30))
      .item<double>();
}

TEST(BatchNormAct, EqualsTheSeparateOperations) {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{
           {2, 3, 5, 7}, {1, 18, 33, 31}, {4, 64, 1, 1}, {3, 130, 2, 9}, {2, 2, 200, 301}}) {
    for (const bool relu : {false, true}) {
      for (const bool residual : {false, true}) {
        const Case test{shape, relu, residual};
        const Outcome want = run(test, at::kDouble, false);
        const Outcome got = run(test, at::kDouble, true);
        const Outcome got32 = run(test, at::kFloat, true);
        const Outcome want32 = run(test, at::kFloat, false);
        EXPECT_LT(error(got.y, want.y), 1e-12);
        EXPECT_LT(error(got.mean, want.mean), 1e-12);
        EXPECT_LT(error(got.var, want.var), 1e-12);
        EXPECT_LE(error(got32.y, want.y), 2 * error(want32.y, want.y));
        EXPECT_LE(error(got32.var, want.var), 2 * error(want32.var, want.var) + 1e-7);
        for (std::size_t i = 0; i < want.grads.size(); ++i) {
          EXPECT_LT(error(got.grads[i], want.grads[i]), 1e-10) << i;
        }
      }
    }
  }
}

TEST(BatchNormAct, DoesNotDependOnTheNumberOfThreads) {
  const int before = at::get_num_threads();
  const Case test{{2, 30, 65, 33}, true, true};
  at::set_num_threads(1);
  const Outcome one = run(test, at::kFloat, true);
  at::set_num_threads(3);
  const Outcome three = run(test, at::kFloat, true);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.y, three.y));
  for (std::size_t i = 0; i < one.grads.size(); ++i) {
    EXPECT_TRUE(at::equal(one.grads[i], three.grads[i])) << i;
  }
}

// LibTorch's ReLU keeps it too; a zero in its place would hide from the loss that a run is lost.
TEST(BatchNormAct, PassesOnWhatIsNotANumber) {
  const at::Tensor c = at::ones({4});
  const ops::BatchNormState state{c, c, c.clone(), c.clone()};
  at::Tensor x = last(at::randn({2, 4, 3, 3}));
  x[0][1][2][0] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor lost = ops::batch_norm_act(x, state, true).isnan();
  EXPECT_TRUE(lost.select(1, 1).all().item<bool>());
  EXPECT_EQ(lost.sum().item<int>(), 2 * 9);
}

TEST(BatchNormAct, LeavesOtherTensorsToLibTorch) {
  const at::Tensor c = at::ones({4});
  const ops::BatchNormState state{c, c, c.clone(), c.clone()};
  EXPECT_TRUE(ops::can_batch_norm_act(last(at::ones({2, 4, 3, 3})), state));
  EXPECT_FALSE(ops::can_batch_norm_act(at::ones({2, 4, 3, 3}), state));        // row-major
  EXPECT_FALSE(ops::can_batch_norm_act(last(at::ones({1, 4, 1, 1})), state));  // one value
  EXPECT_FALSE(ops::can_batch_norm_act(last(at::ones({2, 4, 3, 3}, at::kHalf)), state));
  EXPECT_FALSE(ops::can_batch_norm_act(last(at::ones({2, 4, 3, 3})), {c, c, {}, {}}));
}

TEST(BatchNormAct, RefusesToBeDifferentiatedTwice) {
  const at::Tensor c = at::ones({4});
  const ops::BatchNormState state{c, c, c.clone(), c.clone()};
  const at::Tensor x = last(at::randn({2, 4, 3, 3})).requires_grad_();
  const at::Tensor y = ops::batch_norm_act(x, state, true);
  EXPECT_THROW(y.sum().backward({}, /*retain_graph=*/true, /*create_graph=*/true), c10::Error);
}

}  // namespace
}  // namespace strata
