// The fused cross entropy against LibTorch's own.
#include "framework/ops/softmax_cross_entropy.hpp"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/base/error.hpp"

namespace strata::ops {
namespace {

struct Setting {
  std::int64_t n, c, h, w;
  bool class_weight, pixel_weight;
  double smoothing;
};

const std::vector<Setting> kSettings = {
    {2, 3, 5, 7, false, false, 0.0},    {1, 2, 1, 1, false, false, 0.0},
    {3, 11, 64, 64, false, false, 0.0}, {2, 150, 33, 9, true, false, 0.0},
    {2, 5, 70, 131, true, true, 0.1},   {1, 4, 128, 65, false, true, 0.5},
};

at::Tensor reference(const at::Tensor& logits, const at::Tensor& target, const Setting& setting,
                     const at::Tensor& class_weight, const at::Tensor& pixel_weight) {
  const at::Tensor terms = at::cross_entropy_loss(logits, target, class_weight, at::Reduction::None,
                                                  255, setting.smoothing);
  return (pixel_weight.defined() ? terms * pixel_weight : terms).sum();
}

TEST(SoftmaxCrossEntropy, AgreesWithLibTorch) {
  for (const Setting& setting : kSettings) {
    const auto [n, c, h, w, with_class, with_pixel, smoothing] = setting;
    SCOPED_TRACE(testing::Message() << n << " x " << c << " x " << h << " x " << w);
    const at::Tensor values = at::randn({n, c, h, w}, at::kDouble) * 6;
    at::Tensor target = at::randint(0, c, {n, h, w}, at::kLong);
    target.masked_fill_(at::rand({n, h, w}) < 0.2, 255);
    const at::Tensor classes = with_class ? at::rand({c}, at::kDouble) : at::Tensor();
    const at::Tensor pixels = with_pixel ? at::rand({n, h, w}, at::kDouble) : at::Tensor();
    at::Tensor exact = values.clone().requires_grad_();
    const at::Tensor want = reference(exact, target, setting, classes, pixels);
    (want * 0.25).backward();
    const double largest = exact.grad().abs().max().item<double>();
    for (const auto type : {at::kDouble, at::kFloat}) {
      for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
        at::Tensor logits = values.clone().to(type).contiguous(format).detach().requires_grad_();
        const auto cast = [&](const at::Tensor& x) { return x.defined() ? x.to(type) : x; };
        const at::Tensor got =
            softmax_cross_entropy(logits, target, cast(classes), cast(pixels), {255, smoothing});
        (got * 0.25).backward();
        const double ulp = type == at::kDouble ? 0x1p-52 : 0x1p-23;
        // In float64 the reference sum is no more exact than ours.
        const double roundings = type == at::kDouble ? 16 : 4;
        // A pixel's term is a difference of numbers as large as its logits.
        const double scale = want.item<double>() + values.abs().max().item<double>();
        EXPECT_NEAR(got.item<double>(), want.item<double>(), roundings * ulp * scale);
        EXPECT_TRUE(logits.grad().is_contiguous(format));
        EXPECT_LE((logits.grad().to(at::kDouble) - exact.grad()).abs().max().item<double>(),
                  64 * ulp * largest);
      }
    }
  }
}

TEST(SoftmaxCrossEntropy, SurvivesExtremeLogits) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    at::Tensor logits = at::tensor({1e4, -1e4, 0.0, 80.0, 0.0, -80.0, -1e30, 1e30}, at::kDouble)
                            .to(type)
                            .view({1, 2, 1, 4})
                            .contiguous()
                            .requires_grad_();
    const at::Tensor target = at::tensor({0, 0, 1, 0}, at::kLong).view({1, 1, 4});
    const at::Tensor got = softmax_cross_entropy(logits, target, {}, {}, {});
    const at::Tensor want = at::cross_entropy_loss(logits, target, {}, at::Reduction::Sum);
    EXPECT_NEAR(got.item<double>() / want.item<double>(), 1, 1e-6);
    got.backward();
    EXPECT_TRUE(logits.grad().isfinite().all().item<bool>());
  }
}

// Whichever class it is of: a run ends by what its loss says.
TEST(SoftmaxCrossEntropy, PassesOnWhatIsNotANumber) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (std::int64_t channel = 0; channel < 3; ++channel) {
      at::Tensor logits = at::zeros({1, 3, 2, 70}, type);
      logits[0][channel][1][5] = std::numeric_limits<double>::quiet_NaN();
      const at::Tensor target = at::ones({1, 2, 70}, at::kLong);
      EXPECT_TRUE(std::isnan(softmax_cross_entropy(logits, target, {}, {}, {}).item<double>()))
          << type << " class " << channel;
    }
  }
}

TEST(SoftmaxCrossEntropy, DoesNotDependOnTheNumberOfThreads) {
  const at::Tensor logits = at::randn({2, 7, 96, 80});
  const at::Tensor target = at::randint(0, 7, {2, 96, 80}, at::kLong);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = softmax_cross_entropy(logits, target, {}, {}, {});
  at::set_num_threads(3);
  const at::Tensor three = softmax_cross_entropy(logits, target, {}, {}, {});
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one, three));
}

TEST(CorrectPixels, AgreesWithArgMax) {
  for (const Setting& setting : kSettings) {
    const auto [n, c, h, w, with_class, with_pixel, smoothing] = setting;
    at::Tensor target = at::randint(0, c, {n, h, w}, at::kLong);
    target.masked_fill_(at::rand({n, h, w}) < 0.2, 255);
    // Few distinct values: ties must fall to the first class, as arg max does.
    const at::Tensor logits = at::randint(0, 3, {n, c, h, w}).to(at::kFloat);
    const auto want =
        logits.argmax(1).eq(target).logical_and_(target.ne(255)).sum().item<std::int64_t>();
    for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
        EXPECT_EQ(
            correct_pixels(logits.to(type).contiguous(format), target, 255).item<std::int64_t>(),
            want);
      }
    }
    EXPECT_EQ(
        correct_pixels(logits.transpose(2, 3), target.transpose(1, 2), 255).item<std::int64_t>(),
        want);
  }
}

}  // namespace
}  // namespace strata::ops
