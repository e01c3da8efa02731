#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "framework/data/scene_painter.hpp"

namespace strata::data::scene {
namespace {

constexpr std::array<float, 3> kHaze{.74F, .79F, .84F};

/// A few soft patches, each pixel in about [-1, 1].
cv::Mat clouds_over(Philox& random, int size) {
  cv::Mat knots(4, 4, CV_32F);
  for (float& knot : cv::Mat_<float>(knots)) {
    knot = static_cast<float>(random.uniform(-1, 1));
  }
  cv::Mat sky;
  cv::resize(knots, sky, {size, size}, 0, 0, cv::INTER_CUBIC);
  return sky;
}

}  // namespace

std::array<Look, 2> draw_looks(Philox& random) {
  std::array<Look, 2> looks;
  looks[0].season = random.uniform(0, 4);
  looks[1].season = std::fmod(looks[0].season + random.uniform(0.7, 3.3), 4.0);
  const double north = random.uniform(0, 2 * kPi);  // pictures are not turned alike
  const double first = random.uniform(-1.2, 1.2);
  const double apart = random.uniform(0.5, 1.4);
  looks[0].sun_azimuth = north + first;
  looks[1].sun_azimuth = north + (first > 0 ? first - apart : first + apart);
  for (Look& look : looks) {
    look.shadow_length = random.uniform(0.5, 1.35);
    look.shade = random.uniform(0.38, 0.58);
    const double exposure = random.uniform(0.78, 1.22);
    for (double& gain : look.gain) {
      gain = exposure * random.uniform(0.92, 1.08);
    }
    look.gamma = random.uniform(0.8, 1.22);
    look.haze = random.chance(0.6) ? random.uniform(0.0, 0.25) : 0.0;
    look.clouds = random.chance(0.4) ? random.uniform(0.05, 0.2) : 0.0;
    look.blur = random.uniform(0.35, 0.85);
    look.noise = random.uniform(0.006, 0.022);
  }
  return looks;
}

std::vector<std::uint8_t> take_picture(const World& world, int date, const Look& look,
                                       const View& view, Philox texture, Philox sensor) {
  const int size = world.canvas - 2 * kMargin;
  std::vector<float> colors = paint_canvas(world, date, look, texture);
  const cv::Mat canvas(world.canvas, world.canvas, CV_32FC3, colors.data());
  // Pixel (i, j) of the picture has its middle at (i + 0.5, j + 0.5); OpenCV counts from pixel
  // middles.
  const cv::Matx23d map(view[0], view[1], view[2] + (view[0] + view[1] - 1) / 2 + kMargin,  //
                        view[3], view[4], view[5] + (view[3] + view[4] - 1) / 2 + kMargin);
  cv::Mat picture;
  cv::warpAffine(canvas, picture, map, {size, size}, cv::INTER_CUBIC | cv::WARP_INVERSE_MAP,
                 cv::BORDER_REFLECT_101);
  cv::GaussianBlur(picture, picture, {5, 5}, look.blur);

  const cv::Mat cloud = clouds_over(sensor, size);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size) * static_cast<std::size_t>(size) *
                                  3);
  // Tone curve as a table: gamma costs a power otherwise for every sample.
  constexpr int kSteps = 2048;
  std::vector<float> curve(kSteps + 1);
  for (int i = 0; i <= kSteps; ++i) {
    curve[static_cast<std::size_t>(i)] =
        static_cast<float>(255 * std::pow(static_cast<double>(i) / kSteps, look.gamma));
  }
  const auto clouds = static_cast<float>(look.clouds);
  const auto veil = static_cast<float>(look.haze);
  const auto deviation =
      static_cast<float>(255 * look.noise / 147.8);  // of a sum of four random bytes
  std::uint8_t* out = bytes.data();
  for (int y = 0; y < size; ++y) {
    const auto* row = picture.ptr<cv::Vec3f>(y);
    const float* sky = cloud.ptr<float>(y);
    for (int x = 0; x < size; ++x) {
      const float dim = 1 - clouds * std::clamp(0.5F + sky[x], 0.0F, 1.0F);
      for (int c = 0; c < 3; ++c) {
        const auto channel = static_cast<std::size_t>(c);
        const float lit = row[x][c] * static_cast<float>(look.gain[channel]) * dim;
        const float seen = std::clamp(lit + (kHaze[channel] - lit) * veil, 0.0F, 1.0F);
        const std::uint32_t draw = sensor.next_u32();
        const auto sum = static_cast<float>((draw & 255U) + ((draw >> 8) & 255U) +
                                            ((draw >> 16) & 255U) + (draw >> 24));
        const float value =
            curve[static_cast<std::size_t>(seen * kSteps)] + (sum - 510) * deviation;
        *out++ = static_cast<std::uint8_t>(std::clamp(value + 0.5F, 0.0F, 255.0F));
      }
    }
  }
  return bytes;
}

}  // namespace strata::data::scene
