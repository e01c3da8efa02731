// Images into what a backbone takes.
#include "framework/model/preprocessor.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/message.hpp"

namespace strata {
namespace {

at::Tensor reference(const at::Tensor& image, at::ScalarType dtype) {
  const at::Tensor mean = at::tensor({123.675, 116.28, 103.53}, dtype).view({1, 3, 1, 1});
  const at::Tensor std = at::tensor({58.395, 57.12, 57.375}, dtype).view({1, 3, 1, 1});
  return (image.to(dtype) - mean) / std;
}

// The table must round as subtraction and division do: equal to the last bit, from any layout.
TEST(Preprocessor, NormalisesBytesExactly) {
  const Preprocessor normalise({}, 3);
  const at::Tensor rows = at::randint(0, 256, {2, 3, 37, 53}, at::kByte);
  for (const at::Tensor& image :
       {rows, rows.contiguous(at::MemoryFormat::ChannelsLast),
        rows.narrow(3, 5, 20).narrow(2, 1, 9), rows.flip(0).transpose(2, 3)}) {
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor got = normalise({image}, dtype, at::kCPU);
      EXPECT_TRUE(at::equal(got, reference(image, dtype)));
      EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast));
    }
  }
}

TEST(Preprocessor, PutsAllDatesInOneTensor) {
  const Preprocessor normalise({}, 3);
  const at::Tensor a = at::randint(0, 256, {2, 3, 8, 8}, at::kByte);
  const at::Tensor b = at::randint(0, 256, {2, 3, 8, 8}, at::kByte);
  const at::Tensor both = normalise({a, b}, at::kFloat, at::kCPU);
  EXPECT_TRUE(at::equal(both.narrow(0, 2, 2), reference(b, at::kFloat)));
  EXPECT_TRUE(at::equal(both.narrow(0, 0, 2), reference(a, at::kFloat)));
}

TEST(Preprocessor, TakesFloatingImages) {
  const Preprocessor normalise({}, 3);
  const at::Tensor image = at::rand({1, 3, 8, 8}) * 255;
  EXPECT_TRUE(at::equal(normalise({image}, at::kFloat, at::kCPU), reference(image, at::kFloat)));
}

// Mean and deviation are kept where they were used last.
TEST(Preprocessor, TakesFloatingImagesOfAnyTypeInTurn) {
  const Preprocessor normalise({}, 3);
  const at::Tensor image = at::rand({1, 3, 8, 8}, at::kDouble) * 255;
  for (const auto dtype : {at::kFloat, at::kDouble, at::kFloat, at::kFloat}) {
    EXPECT_TRUE(at::equal(normalise({image}, dtype, at::kCPU), reference(image, dtype)));
  }
}

TEST(Preprocessor, LeavesNormalisedImagesAlone) {
  const Preprocessor normalise({.size_divisor = 8}, 3);
  const at::Tensor image = at::randn({2, 3, 10, 16});
  const at::Tensor got = normalise({image}, at::kDouble, at::kCPU, /*preprocessed=*/true);
  ASSERT_EQ(got.sizes(), (at::IntArrayRef{2, 3, 16, 16}));
  EXPECT_TRUE(at::equal(got.narrow(2, 0, 10), image.to(at::kDouble)));
  EXPECT_TRUE(got.narrow(2, 10, 6).eq(0).all().item<bool>());
}

TEST(Preprocessor, PadsWithTheMeanColour) {
  const Preprocessor normalise({.size_divisor = 8}, 3);
  const at::Tensor bytes = at::randint(0, 256, {1, 3, 10, 16}, at::kByte);
  for (const at::Tensor& image : {bytes, bytes.to(at::kFloat)}) {
    const at::Tensor got = normalise({image}, at::kFloat, at::kCPU);
    ASSERT_EQ(got.sizes(), (at::IntArrayRef{1, 3, 16, 16}));
    EXPECT_TRUE(at::equal(got.narrow(2, 0, 10), reference(image, at::kFloat)));
    EXPECT_TRUE(got.narrow(2, 10, 6).eq(0).all().item<bool>());
  }
  Batch batch;
  batch.images = {bytes};
  LabelSpec label;
  label.ignore_index = 7;
  batch.targets["land"] = {at::ones({1, 10, 16}, at::kLong), label};
  const at::Tensor map = normalise.pad_targets(batch).targets.at("land").data;
  EXPECT_EQ(map.sizes(), (at::IntArrayRef{1, 16, 16}));
  EXPECT_EQ(map.sum().item<std::int64_t>(), 160 + 6 * 16 * 7);
}

TEST(Preprocessor, ScalesOtherChannelsToOne) {
  const Preprocessor normalise({}, 4);
  const at::Tensor image = at::full({1, 4, 2, 2}, 51, at::kByte);
  EXPECT_TRUE(normalise({image}, at::kDouble, at::kCPU).eq(51.0 / 255).all().item<bool>());
}

TEST(Preprocessor, RefusesWhatDoesNotFit) {
  try {
    Preprocessor({.std = std::vector<double>{1.0}}, 3);
    FAIL() << "no error";
  } catch (const OptionError& error) {
    EXPECT_EQ(error.key(), "preprocessor.std");
  }
  const Preprocessor normalise({}, 3);
  EXPECT_EQ(tests::message_of([&] {
              normalise({at::zeros({1, 1, 4, 4}, at::kByte)}, at::kFloat, at::kCPU);
            }),
            "images have 1 channels, but the model takes 3; see "
            "data.channels and model.preprocessor");
  EXPECT_EQ(tests::message_of([&] {
              normalise({at::zeros({1, 3, 4, 4}, at::kByte), at::zeros({1, 3, 4, 5}, at::kByte)},
                        at::kFloat, at::kCPU);
            }),
            "the dates of a batch differ in size: 4 x 4 and 4 x 5");
}

}  // namespace
}  // namespace strata
