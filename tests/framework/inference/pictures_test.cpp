#include "framework/inference/pictures.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace strata::inference {
namespace {

std::vector<int> pixel(const at::Tensor& picture, std::int64_t y, std::int64_t x) {
  std::vector<int> values;
  for (int c = 0; c < 3; ++c) values.push_back(picture[y][x][c].item<int>());
  return values;
}

TEST(Pictures, MistakesAreRedOverTheDimmedImage) {
  const at::Tensor image = at::full({1, 3, 3}, 100, at::kByte);
  const at::Tensor truth = at::tensor({1, 2, 255}, at::kLong).reshape({1, 3});
  const at::Tensor predicted = at::tensor({1, 0, 0}, at::kLong).reshape({1, 3});
  const at::Tensor picture = mistakes(image, predicted, truth, 255);
  EXPECT_EQ(pixel(picture, 0, 0), (std::vector<int>{150, 150, 150}));  // 0.6 x 100 + 90
  EXPECT_EQ(pixel(picture, 0, 1), (std::vector<int>{225, 40, 40}));
  EXPECT_EQ(pixel(picture, 0, 2), (std::vector<int>{128, 128, 128}));
}

TEST(Pictures, ShrinkToTheLongestSideAndNeverGrow) {
  const at::Tensor picture = at::arange(8 * 4 * 3, at::kLong).to(at::kByte).reshape({8, 4, 3});
  EXPECT_TRUE(shrink(picture, 8).equal(picture));
  const at::Tensor half = shrink(picture, 4);
  EXPECT_EQ(half.sizes(), (std::vector<std::int64_t>{4, 2, 3}));
  EXPECT_EQ(half.scalar_type(), at::kByte);
  EXPECT_TRUE(shrink(at::full({90, 30, 3}, 7, at::kByte), 30).eq(7).all().item<bool>());
}

}  // namespace
}  // namespace strata::inference
