// Noise and blur, by date.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <opencv2/imgproc.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

/// The normal distribution's quantiles at the middles of 65536 equal shares: a 16-bit random word
/// picks one.
class NormalTable {
 public:
  NormalTable() : values_(kSize) {
    double z = -4.5;  // below the first quantile; each next one is near
    for (std::size_t i = 0; i < kSize / 2; ++i) {
      const double share = (static_cast<double>(i) + 0.5) / kSize;
      for (int step = 0; step < 30; ++step) {  // Newton: the distribution is convex down here
        const double below = 0.5 * std::erfc(-z / std::numbers::sqrt2);
        const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi);
        const double change = (share - below) / density;
        z += std::min(change, 1.0);
        if (std::abs(change) < 1e-9) break;
      }
      values_[i] = static_cast<float>(z);
      values_[kSize - 1 - i] = static_cast<float>(-z);
    }
  }
  float operator[](std::uint32_t word) const { return values_[word & 0xFFFFU]; }

 private:
  static constexpr std::size_t kSize = 65536;
  std::vector<float> values_;
};

const NormalTable& normal_table() {
  static const NormalTable table;
  return table;
}

struct GaussNoiseOptions {
  double prob = 0.5;
  std::vector<double> std_range = {2, 8};
  bool per_channel = true;
  bool shared = false;

  static auto fields() {
    using O = GaussNoiseOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("std_range", &O::std_range, "range of the noise's deviation, in units of the values")
            .size(2)
            .at_least(0),
        field("per_channel", &O::per_channel, "each channel has its own noise"),
        shared_field(&O::shared)};
  }
};

class GaussNoise final : public Transform {
 public:
  GaussNoise(GaussNoiseOptions options, const Context&) : options_(std::move(options)) {
    check_range("std_range", options_.std_range);
  }

  void apply(Sample& sample, Philox& random) const override {
    struct Drawn {
      bool act;
      double deviation;
      std::uint64_t seed;  // of the noise: `random` itself moves on by a fixed count
    };
    change_dates(
        sample, options_.shared,
        [&] {
          const bool act = random.chance(options_.prob);
          const double deviation = random.uniform(options_.std_range[0], options_.std_range[1]);
          return Drawn{act, deviation, random.next_u64()};
        },
        [&](const at::Tensor& image, std::size_t, const Drawn& drawn) {
          if (!drawn.act) return image;
          Philox noise(drawn.seed);
          const auto deviation = static_cast<float>(drawn.deviation);
          return image.scalar_type() == at::kByte ? add<std::uint8_t>(image, deviation, noise)
                                                  : add<float>(image, deviation, noise);
        });
  }

 private:
  template <class T>
  at::Tensor add(const at::Tensor& image, float deviation, Philox& random) const {
    const NormalTable& normal = normal_table();
    at::Tensor result = like(image);
    auto* out = result.mutable_data_ptr<T>();
    const std::int64_t channels = image.size(2), same = options_.per_channel ? 1 : channels;
    std::uint32_t words = 0;
    bool second = false;
    for (std::int64_t y = 0; y < image.size(0); ++y) {
      const T* in = image.const_data_ptr<T>() + y * image.stride(0);
      for (std::int64_t i = 0; i < image.size(1) * channels / same; ++i) {
        words = second ? words >> 16 : random.next_u32();
        second = !second;
        const float noise = deviation * normal[words];
        for (std::int64_t c = 0; c < same; ++c) {
          const float value = static_cast<float>(*in++) + noise;
          if constexpr (std::is_same_v<T, float>) {
            *out++ = value;
          } else {
            *out++ = static_cast<T>(std::clamp(value + 0.5F, 0.0F, 255.0F));
          }
        }
      }
    }
    return result;
  }

  GaussNoiseOptions options_;
};

struct GaussianBlurOptions {
  double prob = 0.5;
  std::vector<double> sigma_range = {0.3, 1.5};
  bool shared = false;

  static auto fields() {
    using O = GaussianBlurOptions;
    return std::tuple{
        prob_field(&O::prob),
        config::field("sigma_range", &O::sigma_range, "range of the Gaussian's deviation in pixels")
            .size(2)
            .above(0),
        shared_field(&O::shared)};
  }
};

class GaussianBlur final : public Transform {
 public:
  GaussianBlur(GaussianBlurOptions options, const Context&) : options_(std::move(options)) {
    check_range("sigma_range", options_.sigma_range);
  }

  void apply(Sample& sample, Philox& random) const override {
    change_dates(
        sample, options_.shared,
        [&] {
          const bool act = random.chance(options_.prob);
          const double sigma = random.uniform(options_.sigma_range[0], options_.sigma_range[1]);
          return act ? sigma : 0.0;
        },
        [&](const at::Tensor& image, std::size_t, double sigma) {
          if (sigma == 0) return image;
          at::Tensor result = like(image);
          cv::Mat out = mat_of(result);
          cv::GaussianBlur(mat_of(image), out, {}, sigma);
          return result;
        });
  }

 private:
  GaussianBlurOptions options_;
};

struct MotionBlurOptions {
  double prob = 0.5;
  std::vector<std::int64_t> blur_limit = {3, 7};
  std::vector<double> angle_range = {0, 180};
  bool shared = false;

  static auto fields() {
    using O = MotionBlurOptions;
    using config::field;
    return std::tuple{prob_field(&O::prob),
                      field("blur_limit", &O::blur_limit,
                            "range of the path's length in pixels; odd ones are drawn")
                          .size(2)
                          .at_least(3),
                      field("angle_range", &O::angle_range,
                            "range of its direction in degrees; 0: along the rows")
                          .size(2),
                      shared_field(&O::shared)};
  }
};

class MotionBlur final : public Transform {
 public:
  MotionBlur(MotionBlurOptions options, const Context&) : options_(std::move(options)) {
    check_range("blur_limit", options_.blur_limit);
    check_range("angle_range", options_.angle_range);
  }

  void apply(Sample& sample, Philox& random) const override {
    struct Drawn {
      bool act;
      std::int64_t radius;
      double angle;
    };
    change_dates(
        sample, options_.shared,
        [&] {
          const bool act = random.chance(options_.prob);
          const std::int64_t low = options_.blur_limit[0], high = options_.blur_limit[1];
          const std::int64_t radius = random.integer(low / 2, std::max(low / 2, (high - 1) / 2));
          return Drawn{act, radius,
                       random.uniform(options_.angle_range[0], options_.angle_range[1])};
        },
        [&](const at::Tensor& image, std::size_t, const Drawn& drawn) {
          if (!drawn.act) return image;
          at::Tensor result = like(image);
          cv::Mat out = mat_of(result);
          cv::filter2D(mat_of(image), out, -1, path(drawn.radius, drawn.angle));
          return result;
        });
  }

 private:
  // A line of 2 radius + 1 points, each shared among the four pixels around it.
  static cv::Mat path(std::int64_t radius, double degrees) {
    const int side = static_cast<int>(2 * radius + 1);
    cv::Mat kernel = cv::Mat::zeros(side + 1, side + 1, CV_32F);
    const double angle = degrees * std::numbers::pi / 180;
    const double dx = std::cos(angle), dy = -std::sin(angle);
    const auto middle = static_cast<double>(radius);
    for (std::int64_t i = -radius; i <= radius; ++i) {
      const double x = std::max(0.0, middle + static_cast<double>(i) * dx);
      const double y = std::max(0.0, middle + static_cast<double>(i) * dy);
      const int column = static_cast<int>(x), row = static_cast<int>(y);
      const double right = x - column, down = y - row;
      kernel.at<float>(row, column) += static_cast<float>((1 - right) * (1 - down));
      kernel.at<float>(row, column + 1) += static_cast<float>(right * (1 - down));
      kernel.at<float>(row + 1, column) += static_cast<float>((1 - right) * down);
      kernel.at<float>(row + 1, column + 1) += static_cast<float>(right * down);
    }
    kernel = kernel(cv::Rect(0, 0, side, side)).clone();
    return kernel / cv::sum(kernel)[0];
  }

  MotionBlurOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_noise) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, GaussNoise, GaussNoiseOptions>("GaussNoise", "adds Gaussian noise");
  registry.add<Transform, GaussianBlur, GaussianBlurOptions>("GaussianBlur",
                                                             "blurs by a random amount");
  registry.add<Transform, MotionBlur, MotionBlurOptions>("MotionBlur",
                                                         "blurs along a random direction");
}
