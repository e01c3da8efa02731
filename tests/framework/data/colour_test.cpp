// Light, colour, noise and blur on values worked out by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/framework/data/pictures.hpp"

namespace strata::tests {
namespace {

// Two dates of one picture [height, width, 3].
Sample twice(const at::Tensor& image) {
  Sample sample;
  for (int date = 0; date < 2; ++date) {
    sample.images.push_back(image.contiguous());
    sample.meta.paths.push_back("date" + std::to_string(date) + ".png");
  }
  sample.meta.height = image.size(0);
  sample.meta.width = image.size(1);
  return sample;
}

at::Tensor grey(std::initializer_list<int> row) {
  return at::tensor(std::vector<int>(row)).to(at::kByte).view({1, -1, 1}).expand({1, -1, 3});
}

void expect_row(const at::Tensor& image, std::initializer_list<int> want, int channel = 0) {
  const at::Tensor got = image.select(2, channel).select(0, 0);
  EXPECT_TRUE(at::equal(got.to(at::kLong), at::tensor(std::vector<int>(want)).to(at::kLong)))
      << got;
}

TEST(AdjustGamma, RaisesToThePower) {
  // 255 (v / 255)^(1/2): sqrt(64 * 255) = 127.75, sqrt(16 * 255) = 63.87.
  const Sample half = applied("{type = \"AdjustGamma\", gamma = 2}", twice(grey({0, 16, 64, 255})));
  for (const at::Tensor& image : half.images) expect_row(image, {0, 64, 128, 255});
  // v^2 / 255: 64 -> 16.06, 128 -> 64.25.
  expect_row(applied("{type = \"AdjustGamma\", gamma = 0.5}", twice(grey({64, 128}))).images[0],
             {16, 64});
  expect_row(applied("{type = \"AdjustGamma\"}", twice(grey({1, 77, 254}))).images[0],
             {1, 77, 254});
}

TEST(RandomGamma, StaysInItsRangeAndDatesDiffer) {
  int different = 0;
  for (std::uint64_t stream = 0; stream < 40; ++stream) {
    const Sample free = applied("{type = \"RandomGamma\", prob = 1, gamma_range = [0.5, 2]}",
                                twice(grey({64})), stream);
    for (const at::Tensor& image : free.images) {
      EXPECT_GE(image[0][0][0].item<int>(), 16);
      EXPECT_LE(image[0][0][0].item<int>(), 128);
    }
    different += !at::equal(free.images[0], free.images[1]);
    const Sample tied =
        applied("{type = \"RandomGamma\", prob = 0.5, shared = true}", twice(grey({64})), stream);
    EXPECT_TRUE(at::equal(tied.images[0], tied.images[1]));
  }
  EXPECT_GE(different, 30);
}

TEST(RandomBrightnessContrast, ScalesAndShifts) {
  const std::string fixed =
      "{type = \"RandomBrightnessContrast\", prob = 1, brightness_limit = [0.1, 0.1], "
      "contrast_limit = [-0.5, -0.5]}";
  // v / 2 + 25.5, halves to even.
  expect_row(applied(fixed, twice(grey({0, 1, 100, 255}))).images[1], {26, 26, 76, 153});
  expect_row(applied("{type = \"RandomBrightnessContrast\", prob = 1, brightness_limit = [-0.2, "
                     "-0.2], contrast_limit = [1, 1]}",
                     twice(grey({10, 100, 200})))
                 .images[0],
             {0, 149, 255});
}

TEST(HueSaturationValue, TurnsAndShifts) {
  const at::Tensor red = at::tensor({200, 0, 0}, at::kByte).view({1, 1, 3});
  auto pixel = [&](const std::string& limits) {
    const Sample sample =
        applied("{type = \"HueSaturationValue\", prob = 1, " + limits + "}", twice(red));
    const auto* p = sample.images[1].const_data_ptr<std::uint8_t>();
    return std::array<int, 3>{p[0], p[1], p[2]};
  };
  const std::string none = "sat_shift_limit = 0, val_shift_limit = 0";
  EXPECT_EQ(pixel("hue_shift_limit = [60, 60], " + none), (std::array<int, 3>{0, 200, 0}));
  EXPECT_EQ(pixel("hue_shift_limit = [-60, -60], " + none), (std::array<int, 3>{0, 0, 200}));
  EXPECT_EQ(pixel("hue_shift_limit = 0, sat_shift_limit = [-255, -255], val_shift_limit = 0"),
            (std::array<int, 3>{200, 200, 200}));
  EXPECT_EQ(pixel("hue_shift_limit = 0, sat_shift_limit = 0, val_shift_limit = [-50, -50]"),
            (std::array<int, 3>{150, 0, 0}));
  EXPECT_EQ(pixel("hue_shift_limit = 0, sat_shift_limit = 0, val_shift_limit = [100, 100]"),
            (std::array<int, 3>{255, 0, 0}));
}

TEST(CLAHE, StretchesWhatHasLittleContrast) {
  const at::Tensor ramp = (at::arange(64, at::kLong).remainder(8) + 100)
                              .to(at::kByte)
                              .view({1, 64, 1})
                              .expand({64, 64, 3});
  const Sample sample = applied("{type = \"CLAHE\", tile_grid_size = [1, 1]}", twice(ramp));
  // One tile, hardly clipped: equalised to nearly the whole range, in the same order.
  const at::Tensor row = sample.images[0].select(2, 1).select(0, 5).narrow(0, 0, 8).to(at::kLong);
  EXPECT_GT((row[7] - row[0]).item<int>(), 150) << row;
  EXPECT_TRUE((row.narrow(0, 1, 7) > row.narrow(0, 0, 7)).all().item<bool>()) << row;
  EXPECT_TRUE(at::equal(sample.images[0], sample.images[1]));
  expect_row(applied("{type = \"CLAHE\", prob = 0}", twice(grey({5, 6}))).images[0], {5, 6});
}

TEST(RGB2Gray, WeighsTheChannels) {
  const at::Tensor pixels = at::tensor({100, 50, 200, 0, 0, 255}, at::kByte).view({1, 2, 3});
  const Sample kept = applied("{type = \"RGB2Gray\"}", twice(pixels));
  // 29.9 + 29.35 + 22.8 = 82.05; 29.07.
  for (int c = 0; c < 3; ++c) expect_row(kept.images[0], {82, 29}, c);
  const Sample one =
      applied("{type = \"RGB2Gray\", out_channels = 1, weights = [0, 1, 0]}", twice(pixels));
  EXPECT_EQ(one.images[1].size(2), 1);
  expect_row(one.images[1], {50, 0});
  EXPECT_EQ(message_of([&] { applied("{type = \"RGB2Gray\", weights = [1]}", twice(pixels)); }),
            "date0.png: has 3 channels, but there are 1 weights; give one a channel");
  int greys = 0;
  for (std::uint64_t stream = 0; stream < 100; ++stream) {
    const Sample maybe = applied("{type = \"RandomGrayscale\", prob = 0.3}", twice(pixels), stream);
    for (const at::Tensor& image : maybe.images) greys += !at::equal(image, pixels);
  }
  EXPECT_NEAR(greys, 60, 20);  // three deviations
}

TEST(Rerange, StretchesEachPicture) {
  Sample sample = twice(grey({10, 20, 60}));
  sample.images[1] = at::tensor({-1.0F, 0.0F, 3.0F}).view({1, 1, 3});
  const Sample done = applied("{type = \"Rerange\", min_value = 5, max_value = 105}", sample);
  expect_row(done.images[0], {5, 25, 105});
  EXPECT_TRUE(at::equal(done.images[1].view({-1}), at::tensor({5.0F, 30.0F, 105.0F})));
  const Sample wide = applied("{type = \"Rerange\", min_value = -1, max_value = 1}", sample);
  EXPECT_EQ(wide.images[0].scalar_type(), at::kFloat);
  EXPECT_FLOAT_EQ(wide.images[0][0][1][0].item<float>(), -0.6F);
  EXPECT_EQ(message_of([] {
              applied("{type = \"Rerange\"}", twice(grey({7, 7})));
            }),
            "date0.png: has one value everywhere, which Rerange cannot stretch; take the picture "
            "out of the data set");
}

TEST(Normalize, TellsTheModelNotToDoItAgain) {
  EXPECT_FALSE(twice(grey({1})).preprocessed);
  EXPECT_TRUE(applied("{type = \"Normalize\", mean = [1, 1, 1], std = [1, 1, 1]}", twice(grey({1})))
                  .preprocessed);
}

TEST(GaussNoise, HasMeanAndDeviationAsked) {
  const Sample flat = twice(at::full({100, 100, 3}, 128, at::kByte));
  const std::string fixed = "{type = \"GaussNoise\", prob = 1, std_range = [6, 6]";
  const Sample sample = applied(fixed + "}", flat);
  const at::Tensor noise = sample.images[0].to(at::kDouble) - 128;
  // 30,000 values: mean 0 +- 6/173, deviation sqrt(36 + 1/12) +- 6/245 (rounding adds 1/12).
  EXPECT_NEAR(noise.mean().item<double>(), 0, 4 * 6 / 173.2);
  EXPECT_NEAR(noise.std().item<double>(), std::sqrt(36 + 1.0 / 12), 4 * 6 / 245.0);
  // A normal distribution holds 68.27 % within one deviation: 6.5 of 6.007, 72.1 %.
  EXPECT_NEAR(noise.abs().le(6).to(at::kDouble).mean().item<double>(), 0.7211, 0.011);
  EXPECT_FALSE(at::equal(sample.images[0], sample.images[1]));
  EXPECT_FALSE(at::equal(noise.select(2, 0), noise.select(2, 1)));
  const Sample tied = applied(fixed + ", shared = true, per_channel = false}", flat);
  EXPECT_TRUE(at::equal(tied.images[0], tied.images[1]));
  EXPECT_TRUE(at::equal(tied.images[0].select(2, 0), tied.images[0].select(2, 2)));
  // Values are cut to 0..255, not wrapped.
  const Sample dark = applied(fixed + "}", twice(at::zeros({20, 20, 3}, at::kByte)));
  EXPECT_LT(dark.images[0].max().item<int>(), 60);
}

TEST(GaussianBlur, SpreadsAPoint) {
  at::Tensor point = at::zeros({9, 9, 3}, at::kByte);
  point[4][4].fill_(255);
  const Sample sample =
      applied("{type = \"GaussianBlur\", prob = 1, sigma_range = [1, 1]}", twice(point));
  // exp(-r^2 / 2) / (2 pi) of 255: 40.6 in the middle, 24.6 beside, 14.9 across.
  const at::Tensor spread = sample.images[0].select(2, 0).to(at::kDouble);
  EXPECT_NEAR(spread[4][4].item<double>(), 40.6, 1);
  EXPECT_NEAR(spread[4][5].item<double>(), 24.6, 1);
  EXPECT_NEAR(spread[5][5].item<double>(), 14.9, 1);
  EXPECT_TRUE(at::equal(spread, spread.t()));
}

TEST(MotionBlur, SmearsAlongItsDirection) {
  at::Tensor point = at::zeros({7, 7, 3}, at::kByte);
  point[3][3].fill_(250);
  const std::string blur = "{type = \"MotionBlur\", prob = 1, blur_limit = [5, 5], angle_range = ";
  const Sample flat = applied(blur + "[0, 0]}", twice(point));
  expect_row(flat.images[0].narrow(0, 3, 1), {0, 50, 50, 50, 50, 50, 0});
  EXPECT_EQ(flat.images[0].to(at::kLong).sum().item<int>(), 750);
  const Sample upright = applied(blur + "[90, 90]}", twice(point));
  EXPECT_TRUE(at::equal(upright.images[0], flat.images[0].transpose(0, 1)));
  const Sample slanted = applied(blur + "[45, 45]}", twice(point));
  EXPECT_GT(slanted.images[0][2][4][0].item<int>(), 30) << "45 degrees rise to the right";
  EXPECT_LT(slanted.images[0][2][2][0].item<int>(), 10);
}

TEST(Transforms, RefuseDepthsTheyCannotChange) {
  Sample deep = twice(grey({1, 2}).to(at::kFloat));
  EXPECT_EQ(message_of([&] { applied("{type = \"AdjustGamma\", gamma = 2}", deep); }),
            "date0.png: AdjustGamma changes 8-bit pictures, got 3 channels of more than 8 bits; "
            "take it out of the transforms");
  Sample grey_only = twice(at::zeros({2, 2, 1}, at::kByte));
  EXPECT_EQ(message_of([&] { applied("{type = \"HueSaturationValue\"}", grey_only); }),
            "date0.png: HueSaturationValue changes 8-bit RGB pictures, got 1 channels; take it out "
            "of the transforms");
}

}  // namespace
}  // namespace strata::tests
