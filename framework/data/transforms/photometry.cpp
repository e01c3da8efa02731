// Changes of light and colour, by date: two dates of one place differ in both.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <memory>
#include <opencv2/imgproc.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/rows.hpp"
#include "framework/data/transforms/common.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

namespace {

struct PhotoMetricDistortionOptions {
  std::int64_t brightness_delta = 32;
  std::vector<double> contrast_range = {0.5, 1.5};
  std::vector<double> saturation_range = {0.5, 1.5};
  std::int64_t hue_delta = 18;
  bool shared = false;

  static auto fields() {
    using O = PhotoMetricDistortionOptions;
    using config::field;
    return std::tuple{
        field("brightness_delta", &O::brightness_delta, "largest change of brightness, of 255")
            .at_least(0)
            .at_most(255),
        field("contrast_range", &O::contrast_range, "factors of contrast").size(2).at_least(0),
        field("saturation_range", &O::saturation_range, "factors of saturation")
            .size(2)
            .at_least(0),
        field("hue_delta", &O::hue_delta, "largest turn of hue, in steps of 2 degrees")
            .at_least(0)
            .at_most(90),
        shared_field(&O::shared).alias("joint")};
  }
};

/// Brightness, contrast, saturation, hue, each with probability 1/2, contrast first or last
/// (mmseg's order; Liu et al., "SSD", 2016). On 8-bit values: brightness and contrast are one step,
/// saturation and hue share one way to HSV (hue in 2 degrees) and back.
class PhotoMetricDistortion final : public Transform {
 public:
  PhotoMetricDistortion(PhotoMetricDistortionOptions options, const Context&)
      : options_(std::move(options)) {
    io::quiet_opencv();
    check_range("contrast_range", options_.contrast_range);
    check_range("saturation_range", options_.saturation_range);
  }

  void apply(Sample& sample, Philox& random) const override {
    change_dates(
        sample, options_.shared, [&] { return draw(random); },
        [&](const at::Tensor& image, std::size_t date, const Change& change) {
          check_bytes(sample, date, "PhotoMetricDistortion", /*rgb=*/true);
          return distort(image, change);
        });
  }

 private:
  struct Change {
    Adjustment before, after;  // of values, in front of the colours' and behind them
    Table hue = identity_table(), saturation = identity_table();
    bool colours = false;  // hue or saturation does something
  };

  // Draws the same number of values whatever comes of them.
  Change draw(Philox& random) const {
    const bool brightness = random.chance(0.5);
    const auto delta = static_cast<double>(options_.brightness_delta);
    const double shift = random.uniform(-delta, delta);
    const bool contrast_first = random.chance(0.5);
    const bool contrast = random.chance(0.5);
    const double factor = random.uniform(options_.contrast_range[0], options_.contrast_range[1]);
    const bool saturation = random.chance(0.5);
    const double saturate =
        random.uniform(options_.saturation_range[0], options_.saturation_range[1]);
    const bool hue = random.chance(0.5);
    const std::int64_t turn = random.integer(-options_.hue_delta, options_.hue_delta);

    Change change;
    if (brightness) change.before.shift = static_cast<float>(shift);
    if (contrast) {
      (contrast_first ? change.before : change.after).factor = static_cast<float>(factor);
    }
    if (saturation) {
      const Table values = change.saturation;
      adjust_row(values.data(), change.saturation.data(), 256, {0, static_cast<float>(saturate)});
    }
    if (hue) {
      for (std::int64_t h = 0; h < 180; ++h) {
        change.hue[static_cast<std::size_t>(h)] = static_cast<std::uint8_t>((h + turn + 180) % 180);
      }
    }
    change.colours = saturation || hue;
    return change;
  }

  static at::Tensor distort(const at::Tensor& image, const Change& change) {
    const Adjustment &before = change.before, &after = change.after;
    if (!change.colours && !before.acts() && !after.acts()) return image;
    const std::int64_t height = image.size(0), width = image.size(1), row = 3 * width;
    at::Tensor result = at::empty({height, width, 3}, at::kByte);
    const auto* in = image.const_data_ptr<std::uint8_t>();
    auto* out = result.mutable_data_ptr<std::uint8_t>();
    if (!change.colours) {
      const Adjustment both{before.shift, before.factor * after.factor};  // one factor is 1
      for (std::int64_t y = 0; y < height; ++y) {
        adjust_row(in + y * image.stride(0), out + y * row, row, both);
      }
      return result;
    }
    // In strips that stay in the cache from the first step to the last.
    constexpr std::int64_t kStripBytes = 1 << 16;
    const std::int64_t strip = std::clamp<std::int64_t>(kStripBytes / row, 1, height);
    thread_local std::vector<std::uint8_t> hsv_buffer;
    hsv_buffer.resize(static_cast<std::size_t>(strip * row));
    for (std::int64_t top = 0; top < height; top += strip) {
      const std::int64_t rows = std::min(strip, height - top);
      for (std::int64_t y = top; before.acts() && y < top + rows; ++y) {
        adjust_row(in + y * image.stride(0), out + y * row, row, before);
      }
      cv::Mat rgb(static_cast<int>(rows), static_cast<int>(width), CV_8UC3, out + top * row);
      cv::Mat hsv(static_cast<int>(rows), static_cast<int>(width), CV_8UC3, hsv_buffer.data());
      cv::cvtColor(before.acts() ? rgb : mat_of(image.narrow(0, top, rows)), hsv,
                   cv::COLOR_RGB2HSV);
      for (std::uint8_t *p = hsv_buffer.data(), *end = p + rows * row; p != end; p += 3) {
        p[0] = change.hue[p[0]];
        p[1] = change.saturation[p[1]];
      }
      cv::cvtColor(hsv, rgb, cv::COLOR_HSV2RGB);
      if (after.acts()) adjust_row(out + top * row, out + top * row, rows * row, after);
    }
    return result;
  }

  PhotoMetricDistortionOptions options_;
};

struct NormalizeOptions {
  std::vector<double> mean, std;

  static auto fields() {
    using O = NormalizeOptions;
    using config::field;
    return std::tuple{
        field("mean", &O::mean, "subtracted, one a channel").required().not_empty(),
        field("std", &O::std, "divided by, one a channel").required().not_empty().above(0)};
  }
};

/// (value - mean) / std as float, after which the model's preprocessor leaves the pictures alone.
/// It does the same by itself, so this is for what transforms behind it need normalised.
class Normalize final : public Transform {
 public:
  Normalize(const NormalizeOptions& options, const Context&) {
    if (options.mean.size() != options.std.size()) {
      throw OptionError("std", "has " + std::to_string(options.std.size()) + " values, mean has " +
                                   std::to_string(options.mean.size()));
    }
    by_ = std::make_shared<Normalizing>(options.mean, options.std);
  }

  void apply(Sample& sample, Philox& random) const override {
    mix(sample, random, {});
    settle(sample);
  }

  // The values are computed where they go to: in the batch, unless another transform comes.
  void mix(Sample& sample, Philox&, const Another&) const override {
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      const at::Tensor& image = sample.images[i];
      if (image.size(2) != by_->channels) {
        throw DataError(sample.meta.paths[i] + ": has " + std::to_string(image.size(2)) +
                        " channels, but Normalize has means for " +
                        std::to_string(by_->channels));
      }
    }
    sample.put_off.normalizing = by_;
    sample.preprocessed = true;
  }

 private:
  std::shared_ptr<const Normalizing> by_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_photometry) {
  using namespace strata::data;
  registry.add<strata::Transform, PhotoMetricDistortion, PhotoMetricDistortionOptions>(
      "PhotoMetricDistortion", "random brightness, contrast, saturation and hue",
      {"MultiImgPhotoMetricDistortion"});
  registry.add<strata::Transform, Normalize, NormalizeOptions>(
      "Normalize", "subtracts a mean and divides by a deviation, which the model does otherwise",
      {"MultiImgNormalize"});
}
