// PhotoMetricDistortion against a slow reference of its own: one pixel at a time in double
// precision, hue and saturation rounded to 8 bits as the definition says.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/framework/data/support.hpp"
#include "tests/support/seed.hpp"

namespace strata::tests {
namespace {

using Pixel = std::array<int, 3>;

int cut(double value) { return static_cast<int>(std::min(255.0, std::max(0.0, value))); }

// What rounding `exact` to a whole number may give when it is computed with an error.
std::vector<int> rounded(double exact, double error) {
  std::vector<int> all = {static_cast<int>(std::floor(exact + 0.5 - error))};
  const int other = static_cast<int>(std::floor(exact + 0.5 + error));
  if (other != all[0]) all.push_back(other);
  return all;
}

// Hue in steps of 2 degrees (0 to 179), saturation and value 0 to 255, each rounded.
std::vector<Pixel> to_hsv(const Pixel& rgb) {
  const int value = std::max({rgb[0], rgb[1], rgb[2]});
  const int chroma = value - std::min({rgb[0], rgb[1], rgb[2]});
  if (chroma == 0) return {{0, 0, value}};
  int part = rgb[0] - rgb[1] + 4 * chroma;  // of a sixth of the circle, times chroma
  if (value == rgb[0]) {
    part = rgb[1] - rgb[2];
  } else if (value == rgb[1]) {
    part = rgb[2] - rgb[0] + 2 * chroma;
  }
  // OpenCV multiplies by the reciprocals of chroma and value in 12-bit fixed point.
  constexpr double kHalfUnit = 0.5 / 4096;
  std::vector<Pixel> all;
  for (const int step : rounded(30.0 * part / chroma, kHalfUnit * std::abs(part))) {
    for (const int saturation : rounded(255.0 * chroma / value, kHalfUnit * chroma)) {
      all.push_back({(step + 180) % 180, saturation, value});
    }
  }
  return all;
}

Pixel to_rgb(const Pixel& hsv) {
  const double value = hsv[2], saturation = hsv[1] / 255.0, sector = hsv[0] / 30.0;
  auto channel = [&](double shift) {
    const double k = std::fmod(shift + sector, 6.0);
    return value * (1 - saturation * std::max(0.0, std::min({k, 4 - k, 1.0})));
  };
  return {static_cast<int>(std::lround(channel(5))), static_cast<int>(std::lround(channel(3))),
          static_cast<int>(std::lround(channel(1)))};
}

// mmseg's order, drawing as the transform does. Counts the channels' values of `actual` that are
// none of the possible ones.
std::int64_t wrong_pixels(const at::Tensor& image, const at::Tensor& actual, Philox& random) {
  const bool brightness = random.chance(0.5);
  const double shift = random.uniform(-32, 32);
  const bool contrast_first = random.chance(0.5);
  const bool contrast = random.chance(0.5);
  const double factor = random.uniform(0.5, 1.5);
  const bool saturation = random.chance(0.5);
  const double saturate = random.uniform(0.5, 1.5);
  const bool hue = random.chance(0.5);
  const auto turn = static_cast<int>(random.integer(-18, 18));
  // Back from HSV, OpenCV may round to the next level, which contrast then makes two.
  const int tolerance = !saturation && !hue ? 0 : contrast && !contrast_first ? 2 : 1;
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < image.numel(); i += 3) {
    Pixel start{};
    for (int c = 0; c < 3; ++c) {
      int& v = start[c] = image.const_data_ptr<std::uint8_t>()[i + c];
      if (brightness) v = cut(static_cast<float>(v) + static_cast<float>(shift));
      if (contrast && contrast_first) v = cut(static_cast<float>(v) * static_cast<float>(factor));
    }
    std::vector<Pixel> possible = {start};
    if (saturation || hue) {
      possible.clear();
      for (Pixel hsv : to_hsv(start)) {
        if (saturation) hsv[1] = cut(static_cast<float>(hsv[1]) * static_cast<float>(saturate));
        if (hue) hsv[0] = (hsv[0] + turn + 180) % 180;
        possible.push_back(to_rgb(hsv));
      }
    }
    bool right = false;
    for (Pixel pixel : possible) {
      int distance = 0;
      for (int c = 0; c < 3; ++c) {
        if (contrast && !contrast_first) {
          pixel[c] = cut(static_cast<float>(pixel[c]) * static_cast<float>(factor));
        }
        distance =
            std::max(distance, std::abs(pixel[c] - actual.const_data_ptr<std::uint8_t>()[i + c]));
      }
      right |= distance <= tolerance;
    }
    wrong += !right;
  }
  return wrong;
}

Sample noise(std::int64_t height, std::int64_t width) {
  Sample sample;
  Philox random(seed(), 77);
  for (int date = 0; date < 2; ++date) {
    at::Tensor image = at::empty({height, width, 3}, at::kByte);
    for (std::int64_t i = 0; i < image.numel(); ++i) {
      image.data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.next_u32());
    }
    sample.images.push_back(image);
    sample.meta.paths.push_back("date" + std::to_string(date) + ".png");
  }
  return sample;
}

std::shared_ptr<Transform> distortion(const std::string& more = "") {
  return make<Transform>("{type = \"PhotoMetricDistortion\"" + more + "}",
                         {label_specs({label_spec("semantic", 2)})});
}

TEST(PhotoMetricDistortion, IsWhatTheSlowReferenceGives) {
  for (std::uint64_t stream = 0; stream < 60; ++stream) {
    Sample sample = noise(40, 50);
    const std::vector<at::Tensor> before = {sample.images[0].clone(), sample.images[1].clone()};
    Philox random(seed(), stream), again(seed(), stream);
    distortion()->apply(sample, random);
    for (std::size_t date = 0; date < 2; ++date) {
      EXPECT_EQ(wrong_pixels(before[date], sample.images[date], again), 0) << stream;
    }
    EXPECT_EQ(random.position(), again.position());
  }
}

TEST(PhotoMetricDistortion, WorksOnViewsAndLeavesTheSourceAlone) {
  Sample sample = noise(40, 50);
  const std::vector<at::Tensor> source = sample.images;
  const std::vector<at::Tensor> copies = {source[0].clone(), source[1].clone()};
  Sample cut = sample;
  for (int date = 0; date < 2; ++date) {
    cut.images[date] = source[date].narrow(0, 3, 20).narrow(1, 7, 30);
    sample.images[date] = cut.images[date].contiguous();
  }
  for (std::uint64_t stream = 0; stream < 10; ++stream) {
    Sample a = cut, b = sample;
    Philox first(seed(), stream), second(seed(), stream);
    distortion()->apply(a, first);
    distortion()->apply(b, second);
    for (int date = 0; date < 2; ++date) EXPECT_TRUE(at::equal(a.images[date], b.images[date]));
  }
  for (int date = 0; date < 2; ++date) EXPECT_TRUE(at::equal(source[date], copies[date]));
}

TEST(PhotoMetricDistortion, DatesDifferUnlessShared) {
  int different = 0;
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    for (const bool shared : {false, true}) {
      Sample sample = noise(6, 6);
      sample.images[1] = sample.images[0].clone();
      Philox random(seed(), stream);
      distortion(shared ? ", shared = true" : "")->apply(sample, random);
      const bool same = at::equal(sample.images[0], sample.images[1]);
      different += !shared && !same;
      EXPECT_TRUE(same || !shared);
    }
  }
  EXPECT_GE(different, 15);
}

TEST(PhotoMetricDistortion, RefusesWhatIsNotRgb) {
  Sample sample = noise(4, 4);
  sample.images[1] = sample.images[1].to(at::kFloat);
  Philox random(seed());
  EXPECT_EQ(message_of([&] { distortion()->apply(sample, random); }),
            "date1.png: PhotoMetricDistortion changes 8-bit RGB pictures, got 3 channels of more "
            "than 8 bits; take it out of the transforms");
}

}  // namespace
}  // namespace strata::tests
