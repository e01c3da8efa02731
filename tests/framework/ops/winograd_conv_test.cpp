// Winograd's convolution against LibTorch's.
#include "framework/ops/winograd_conv.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace strata {
namespace {

double distance(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).abs().max() / b.abs().max()).item<double>();
}

at::Tensor channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

// Odd sizes leave tiles that are part outside; maps may lie either way; a bias may be missing.
TEST(WinogradConv, EqualsTheConvolutionAndItsGradients) {
  for (const auto& [height, width] : {std::pair{6, 8}, {7, 5}, {1, 1}, {2, 9}}) {
    for (const bool with_bias : {true, false}) {
      const auto make = [&] {
        at::manual_seed(height * 31 + width);
        std::vector<at::Tensor> leaves = {channels_last(at::randn({3, 5, height, width}, at::kDouble)),
                                          at::randn({4, 5, 3, 3}, at::kDouble),
                                          at::randn({4}, at::kDouble)};
        for (at::Tensor& leaf : leaves) leaf.set_requires_grad(true);
        return leaves;
      };
      auto ours = make(), theirs = make();
      if (!with_bias) {
        ours[2] = theirs[2] = at::Tensor();
      }
      const at::Tensor y = ops::winograd_conv(ours[0], ours[1], ours[2]);
      const at::Tensor z = at::conv2d(theirs[0], theirs[1], theirs[2], 1, 1);
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_LT(distance(y, z), 1e-14);
      const at::Tensor g = at::randn(y.sizes(), at::kDouble);
      y.backward(g);
      z.backward(g);
      for (std::size_t i = 0; i < (with_bias ? 3 : 2); ++i) {
        EXPECT_LT(distance(ours[i].grad(), theirs[i].grad()), 1e-13) << i;
      }
    }
  }
}

TEST(WinogradConv, ComputesOnlyTheGradientsThatAreWanted) {
  at::Tensor x = at::randn({1, 4, 6, 6}), weight = at::randn({4, 4, 3, 3}).set_requires_grad(true);
  ops::winograd_conv(x, weight, {}).sum().backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_TRUE(weight.grad().defined());
}

// More tiles than are transformed at a time; float32 is no worse than the direct sums' own error.
TEST(WinogradConv, RoundsNoWorseThanDirectSums) {
  at::manual_seed(3);
  at::Tensor x = channels_last(at::randn({2, 160, 60, 64})), weight = at::randn({136, 160, 3, 3});
  ASSERT_TRUE(ops::winograd_pays(x, weight));
  const auto run = [&](bool ours, at::ScalarType type) {
    at::Tensor a = x.to(type).detach().set_requires_grad(true);
    at::Tensor w = weight.to(type).detach().set_requires_grad(true);
    const at::Tensor y = ours ? ops::winograd_conv(a, w, {}) : at::conv2d(a, w, {}, 1, 1);
    at::manual_seed(4);
    y.backward(at::randn(y.sizes()).to(type));
    return std::vector<at::Tensor>{y, a.grad(), w.grad()};
  };
  const auto exact = run(false, at::kDouble), direct = run(false, at::kFloat),
             ours = run(true, at::kFloat);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_LT(distance(ours[i], exact[i]), 2 * distance(direct[i], exact[i])) << i;
  }
}

TEST(WinogradConv, TransformedWeightsServeTheSame) {
  const at::Tensor x = channels_last(at::randn({2, 8, 9, 7})), weight = at::randn({6, 8, 3, 3}),
                   bias = at::randn({6});
  const at::Tensor y = ops::winograd_conv(x, weight, bias);
  const at::Tensor u = ops::winograd_weight(weight);
  EXPECT_TRUE(at::equal(ops::winograd_conv_transformed(x, u, bias, false), y));
  EXPECT_TRUE(at::equal(ops::winograd_conv_transformed(x, u, bias, true), at::relu(y)));
}

}  // namespace
}  // namespace strata
