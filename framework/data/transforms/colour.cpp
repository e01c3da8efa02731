// Single changes of light and colour: of every date the same where nothing is drawn, else of each
// date by itself. 8-bit pictures stay 8-bit.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

template <class Function>
Table table_of(const Function& function) {
  Table table;
  for (std::size_t v = 0; v < table.size(); ++v) {
    table[v] = static_cast<std::uint8_t>(
        std::clamp(std::nearbyint(function(static_cast<double>(v))), 0.0, 255.0));
  }
  return table;
}

Table gamma_table(double exponent) {
  return table_of([&](double v) { return 255 * std::pow(v / 255, exponent); });
}

struct AdjustGammaOptions {
  double gamma = 1.0;

  static auto fields() {
    return std::tuple{config::field("gamma", &AdjustGammaOptions::gamma,
                                    "above 1 brightens: values become 255 (v / 255)^(1 / gamma)")
                          .above(0)};
  }
};

class AdjustGamma final : public Transform {
 public:
  AdjustGamma(AdjustGammaOptions options, const Context&)
      : table_(gamma_table(1 / options.gamma)) {}

  void apply(Sample& sample, Philox&) const override {
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      check_bytes(sample, i, "AdjustGamma", /*rgb=*/false);
      sample.images[i] = look_up(sample.images[i], table_);
    }
  }

 private:
  Table table_;
};

struct RandomGammaOptions {
  double prob = 0.5;
  std::vector<double> gamma_range = {0.7, 1.4};
  bool shared = false;

  static auto fields() {
    using O = RandomGammaOptions;
    return std::tuple{prob_field(&O::prob),
                      config::field("gamma_range", &O::gamma_range,
                                    "range of gamma, drawn evenly on a logarithmic scale")
                          .size(2)
                          .above(0),
                      shared_field(&O::shared)};
  }
};

class RandomGamma final : public Transform {
 public:
  RandomGamma(RandomGammaOptions options, const Context&) : options_(std::move(options)) {
    check_range("gamma_range", options_.gamma_range);
  }

  void apply(Sample& sample, Philox& random) const override {
    change_dates(
        sample, options_.shared,
        [&] {
          const bool act = random.chance(options_.prob);
          const double gamma = std::exp(
              random.uniform(std::log(options_.gamma_range[0]), std::log(options_.gamma_range[1])));
          return act ? gamma : 1.0;
        },
        [&](const at::Tensor& image, std::size_t date, double gamma) {
          check_bytes(sample, date, "RandomGamma", /*rgb=*/false);
          return gamma == 1.0 ? image : look_up(image, gamma_table(1 / gamma));
        });
  }

 private:
  RandomGammaOptions options_;
};

struct RandomBrightnessContrastOptions {
  double prob = 0.5;
  std::vector<double> brightness_limit = {0.2};
  std::vector<double> contrast_limit = {0.2};
  bool shared = false;

  static auto fields() {
    using O = RandomBrightnessContrastOptions;
    using config::field;
    return std::tuple{prob_field(&O::prob),
                      field("brightness_limit", &O::brightness_limit,
                            "largest shift either way as a share of 255, or [lowest, highest]")
                          .at_least(-1)
                          .at_most(1)
                          .one_or_many()
                          .not_empty(),
                      field("contrast_limit", &O::contrast_limit,
                            "largest change of the factor from 1 either way, or [lowest, highest]")
                          .at_least(-1)
                          .one_or_many()
                          .not_empty(),
                      shared_field(&O::shared)};
  }
};

class RandomBrightnessContrast final : public Transform {
 public:
  RandomBrightnessContrast(RandomBrightnessContrastOptions options, const Context&)
      : options_(std::move(options)) {
    options_.brightness_limit = range_of("brightness_limit", options_.brightness_limit);
    options_.contrast_limit = range_of("contrast_limit", options_.contrast_limit);
  }

  void apply(Sample& sample, Philox& random) const override {
    struct Drawn {
      bool act;
      double shift, factor;
    };
    change_dates(
        sample, options_.shared,
        [&] {
          const bool act = random.chance(options_.prob);
          const auto &b = options_.brightness_limit, &c = options_.contrast_limit;
          const double shift = 255 * random.uniform(b[0], b[1]);
          return Drawn{act, shift, 1 + random.uniform(c[0], c[1])};
        },
        [&](const at::Tensor& image, std::size_t date, const Drawn& drawn) {
          check_bytes(sample, date, "RandomBrightnessContrast", /*rgb=*/false);
          if (!drawn.act) return image;
          return look_up(image, table_of([&](double v) { return v * drawn.factor + drawn.shift; }));
        });
  }

 private:
  RandomBrightnessContrastOptions options_;
};

struct HueSaturationValueOptions {
  double prob = 0.5;
  std::vector<double> hue_shift_limit = {20};
  std::vector<double> sat_shift_limit = {30};
  std::vector<double> val_shift_limit = {20};
  bool shared = false;

  static auto fields() {
    using O = HueSaturationValueOptions;
    auto limit = [](const char* key, auto member, const char* doc, double most) {
      return config::field(key, member, doc)
          .at_least(-most)
          .at_most(most)
          .one_or_many()
          .not_empty();
    };
    return std::tuple{
        prob_field(&O::prob),
        limit("hue_shift_limit", &O::hue_shift_limit,
              "largest turn of hue either way in steps of 2 degrees, or [lowest, highest]", 180),
        limit("sat_shift_limit", &O::sat_shift_limit,
              "largest shift of saturation (0 to 255) either way, or [lowest, highest]", 255),
        limit("val_shift_limit", &O::val_shift_limit,
              "largest shift of value (0 to 255) either way, or [lowest, highest]", 255),
        shared_field(&O::shared)};
  }
};

class HueSaturationValue final : public Transform {
 public:
  HueSaturationValue(HueSaturationValueOptions options, const Context&)
      : options_(std::move(options)) {
    options_.hue_shift_limit = range_of("hue_shift_limit", options_.hue_shift_limit);
    options_.sat_shift_limit = range_of("sat_shift_limit", options_.sat_shift_limit);
    options_.val_shift_limit = range_of("val_shift_limit", options_.val_shift_limit);
  }

  void apply(Sample& sample, Philox& random) const override {
    struct Drawn {
      bool act;
      std::int64_t hue, saturation, value;
    };
    auto shift = [&](const std::vector<double>& limit) {
      return std::llround(random.uniform(limit[0], limit[1]));
    };
    change_dates(
        sample, options_.shared,
        [&] {
          Drawn drawn{};
          drawn.act = random.chance(options_.prob);
          drawn.hue = shift(options_.hue_shift_limit);
          drawn.saturation = shift(options_.sat_shift_limit);
          drawn.value = shift(options_.val_shift_limit);
          return drawn;
        },
        [&](const at::Tensor& image, std::size_t date, const Drawn& drawn) {
          check_bytes(sample, date, "HueSaturationValue", /*rgb=*/true);
          if (!drawn.act) return image;
          at::Tensor result = like(image);
          cv::Mat rgb = mat_of(result), hsv;
          cv::cvtColor(mat_of(image), hsv, cv::COLOR_RGB2HSV);
          const Table hue = table_of([&](double v) {  // 0 to 179
            return static_cast<double>((static_cast<std::int64_t>(v) + drawn.hue + 360) % 180);
          });
          const Table saturation =
              table_of([&](double v) { return v + static_cast<double>(drawn.saturation); });
          const Table value =
              table_of([&](double v) { return v + static_cast<double>(drawn.value); });
          auto* p = hsv.ptr<std::uint8_t>();
          for (std::int64_t i = 0; i < image.size(0) * image.size(1); ++i, p += 3) {
            p[0] = hue[p[0]];
            p[1] = saturation[p[1]];
            p[2] = value[p[2]];
          }
          cv::cvtColor(hsv, rgb, cv::COLOR_HSV2RGB);
          return result;
        });
  }

 private:
  HueSaturationValueOptions options_;
};

struct ClaheOptions {
  double prob = 1.0;
  double clip_limit = 40.0;
  std::vector<std::int64_t> tile_grid_size = {8, 8};

  static auto fields() {
    using O = ClaheOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob), field("clip_limit", &O::clip_limit, "limit of contrast").above(0),
        field("tile_grid_size", &O::tile_grid_size, "tiles [down, across]").size(2).at_least(1)};
  }
};

/// Contrast-limited adaptive histogram equalisation of each channel (Zuiderveld, "Graphics Gems
/// IV", 1994).
class Clahe final : public Transform {
 public:
  Clahe(ClaheOptions options, const Context&) : options_(std::move(options)) {}

  void apply(Sample& sample, Philox& random) const override {
    if (!random.chance(options_.prob)) return;
    const auto equaliser = cv::createCLAHE(options_.clip_limit,
                                           cv::Size(static_cast<int>(options_.tile_grid_size[1]),
                                                    static_cast<int>(options_.tile_grid_size[0])));
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      check_bytes(sample, i, "CLAHE", /*rgb=*/false);
      at::Tensor result = like(sample.images[i]);
      const cv::Mat in = mat_of(sample.images[i]);
      cv::Mat out = mat_of(result), plane;
      for (int c = 0; c < in.channels(); ++c) {
        cv::extractChannel(in, plane, c);
        equaliser->apply(plane, plane);
        cv::insertChannel(plane, out, c);
      }
      sample.images[i] = result;
    }
  }

 private:
  ClaheOptions options_;
};

const std::vector<double> kLumaWeights = {0.299, 0.587, 0.114};  // ITU-R BT.601

// The weighted sum of the channels in each of `channels` channels.
template <class T>
at::Tensor grey_of(const at::Tensor& image, const std::vector<double>& weights,
                   std::int64_t channels) {
  at::Tensor result = like(image.narrow(2, 0, 1).expand({-1, -1, channels}));
  auto* out = result.mutable_data_ptr<T>();
  const std::int64_t of = image.size(2);
  for (std::int64_t y = 0; y < image.size(0); ++y) {
    const T* in = image.const_data_ptr<T>() + y * image.stride(0);
    for (std::int64_t x = 0; x < image.size(1); ++x, in += of, out += channels) {
      double sum = 0;
      for (std::int64_t c = 0; c < of; ++c) sum += weights[static_cast<std::size_t>(c)] * in[c];
      const double value = std::is_same_v<T, float> ? sum : std::clamp(sum + 0.5, 0.0, 255.0);
      std::fill_n(out, channels, static_cast<T>(value));
    }
  }
  return result;
}

at::Tensor to_grey(const Sample& sample, std::size_t date, const std::vector<double>& weights,
                   std::int64_t channels) {
  const at::Tensor& image = sample.images[date];
  if (image.size(2) != static_cast<std::int64_t>(weights.size())) {
    throw DataError(sample.meta.paths[date] + ": has " + std::to_string(image.size(2)) +
                    " channels, but there are " + std::to_string(weights.size()) +
                    " weights; give one a channel");
  }
  if (channels == 0) channels = image.size(2);
  return image.scalar_type() == at::kByte ? grey_of<std::uint8_t>(image, weights, channels)
                                          : grey_of<float>(image, weights, channels);
}

struct Rgb2GrayOptions {
  std::int64_t out_channels = 0;
  std::vector<double> weights = kLumaWeights;

  static auto fields() {
    using O = Rgb2GrayOptions;
    using config::field;
    return std::tuple{field("out_channels", &O::out_channels,
                            "equal channels of the result; 0: as many as before")
                          .at_least(0),
                      field("weights", &O::weights, "of the channels").not_empty()};
  }
};

class Rgb2Gray final : public Transform {
 public:
  Rgb2Gray(Rgb2GrayOptions options, const Context&) : options_(std::move(options)) {}

  void apply(Sample& sample, Philox&) const override {
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      sample.images[i] = to_grey(sample, i, options_.weights, options_.out_channels);
    }
  }

 private:
  Rgb2GrayOptions options_;
};

struct RandomGrayscaleOptions {
  double prob = 0.1;
  std::vector<double> channel_weights = kLumaWeights;
  bool shared = false;

  static auto fields() {
    using O = RandomGrayscaleOptions;
    return std::tuple{
        prob_field(&O::prob),
        config::field("channel_weights", &O::channel_weights, "of the channels").not_empty(),
        shared_field(&O::shared)};
  }
};

class RandomGrayscale final : public Transform {
 public:
  RandomGrayscale(RandomGrayscaleOptions options, const Context&) : options_(std::move(options)) {}

  void apply(Sample& sample, Philox& random) const override {
    change_dates(
        sample, options_.shared, [&] { return random.chance(options_.prob); },
        [&](const at::Tensor& image, std::size_t date, bool act) {
          return act ? to_grey(sample, date, options_.channel_weights, 0) : image;
        });
  }

 private:
  RandomGrayscaleOptions options_;
};

struct RerangeOptions {
  double min_value = 0;
  double max_value = 255;

  static auto fields() {
    using O = RerangeOptions;
    using config::field;
    return std::tuple{field("min_value", &O::min_value, "what the smallest value becomes"),
                      field("max_value", &O::max_value, "what the largest value becomes")};
  }
};

/// Stretches the values of each picture, over all its channels; the result is float, or 8-bit
/// where the picture was and both ends fit.
class Rerange final : public Transform {
 public:
  Rerange(RerangeOptions options, const Context&) : options_(options) {
    if (options_.min_value >= options_.max_value) {
      throw OptionError("max_value", "must be above min_value");
    }
    for (const double end : {options_.min_value, options_.max_value}) {
      bytes_ = bytes_ && end >= 0 && end <= 255;
    }
  }

  void apply(Sample& sample, Philox&) const override {
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      const at::Tensor image = sample.images[i];
      const cv::Mat in = mat_of(image);
      double low = 0, high = 0;
      cv::minMaxIdx(in.reshape(1), &low, &high);
      if (low == high) {
        throw DataError(sample.meta.paths[i] +
                        ": has one value everywhere, which Rerange cannot stretch; take the "
                        "picture out of the data set");
      }
      const double factor = (options_.max_value - options_.min_value) / (high - low);
      const double shift = options_.min_value - low * factor;
      const bool bytes = bytes_ && image.scalar_type() == at::kByte;
      at::Tensor result = at::empty(image.sizes(), bytes ? at::kByte : at::kFloat);
      cv::Mat out = mat_of(result);
      in.convertTo(out, bytes ? CV_8U : CV_32F, factor, shift);
      sample.images[i] = result;
    }
  }

 private:
  RerangeOptions options_;
  bool bytes_ = true;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_colour) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, AdjustGamma, AdjustGammaOptions>("AdjustGamma", "gamma correction",
                                                           {"MultiImgAdjustGamma"});
  registry.add<Transform, RandomGamma, RandomGammaOptions>("RandomGamma",
                                                           "gamma correction at random");
  registry.add<Transform, RandomBrightnessContrast, RandomBrightnessContrastOptions>(
      "RandomBrightnessContrast", "random brightness and contrast");
  registry.add<Transform, HueSaturationValue, HueSaturationValueOptions>(
      "HueSaturationValue", "random shifts of hue, saturation and value");
  registry.add<Transform, Clahe, ClaheOptions>(
      "CLAHE", "adaptive histogram equalisation with limited contrast", {"MultiImgCLAHE"});
  registry.add<Transform, Rgb2Gray, Rgb2GrayOptions>(
      "RGB2Gray", "grey in one or more equal channels", {"MultiImgRGB2Gray"});
  registry.add<Transform, RandomGrayscale, RandomGrayscaleOptions>("RandomGrayscale",
                                                                   "grey at random");
  registry.add<Transform, Rerange, RerangeOptions>(
      "Rerange", "stretches each picture's values to a range", {"MultiImgRerange"});
}
