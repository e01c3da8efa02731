// Transforms of size: the same for every date and target. Sizes are [height, width] everywhere
// (MMCV's Resize takes [width, height]).
#include <algorithm>
#include <cmath>

#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

const char* const kSizeDoc = "[height, width] in pixels";
const char* const kKeepRatioDoc =
    "keep the picture's ratio: as large as fits the longer and the shorter side of size";

std::int64_t rounded(double exact) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(exact + 0.5));
}

/// What all of these share: mix() puts the work off for a crop that may follow.
class Resizer : public Transform {
 public:
  void apply(Sample& sample, Philox& random) const final {
    settle(sample);
    plan(sample, random);
    settle(sample);
  }
  bool takes_unsettled() const final { return true; }
  void mix(Sample& sample, Philox& random, const Another&) const final {
    if (sample.put_off.resizing) settle(sample);
    plan(sample, random);
  }

 protected:
  virtual void plan(Sample& sample, Philox& random) const = 0;
};

void resize_to(Sample& sample, double height, double width, bool keep_ratio,
               const std::string& interpolation) {
  PixelSize size{static_cast<std::int64_t>(height), static_cast<std::int64_t>(width)};
  if (keep_ratio) size = keep_ratio_size(sample.height(), sample.width(), height, width);
  plan_resize(sample, size.height, size.width, interpolation);
}

struct ResizeOptions {
  std::vector<std::int64_t> size;
  std::vector<double> scale_factor;
  bool keep_ratio = false;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = ResizeOptions;
    using config::field;
    return std::tuple{
        field("size", &O::size, "[height, width] in pixels; one number: both")
            .at_least(1)
            .one_or_many(),
        field("scale_factor", &O::scale_factor,
              "instead of size: factor of the sides, or [of the height, of the width]")
            .above(0)
            .one_or_many(),
        field("keep_ratio", &O::keep_ratio, kKeepRatioDoc), interpolation_field(&O::interpolation)};
  }
};

class Resize final : public Resizer {
 public:
  Resize(ResizeOptions options, const Context&) : options_(std::move(options)) {
    auto& [size, factor, keep_ratio, interpolation] = options_;
    if (size.empty() == factor.empty()) {
      throw OptionError(
          "", size.empty() ? "needs size or scale_factor" : "takes size or scale_factor, not both");
    }
    if (size.size() == 1) size.push_back(size[0]);
    if (factor.size() == 1) factor.push_back(factor[0]);
    if (size.size() > 2) throw OptionError("size", "takes one number or [height, width]");
    if (factor.size() > 2) throw OptionError("scale_factor", "takes one or two numbers");
  }

  void plan(Sample& sample, Philox&) const override {
    if (options_.size.empty()) {
      const auto height = static_cast<double>(sample.height()) * options_.scale_factor[0];
      const auto width = static_cast<double>(sample.width()) * options_.scale_factor[1];
      plan_resize(sample, rounded(height), rounded(width), options_.interpolation);
    } else {
      resize_to(sample, static_cast<double>(options_.size[0]),
                static_cast<double>(options_.size[1]), options_.keep_ratio, options_.interpolation);
    }
  }

 private:
  ResizeOptions options_;
};

struct RandomResizeOptions {
  std::vector<std::int64_t> size;
  std::vector<double> ratio_range = {0.5, 2.0};
  bool keep_ratio = true;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = RandomResizeOptions;
    using config::field;
    return std::tuple{
        field("size", &O::size, kSizeDoc).required().size(2).at_least(1),
        field("ratio_range", &O::ratio_range, "size is multiplied by a ratio drawn from it")
            .size(2)
            .above(0),
        field("keep_ratio", &O::keep_ratio, kKeepRatioDoc), interpolation_field(&O::interpolation)};
  }
};

class RandomResize final : public Resizer {
 public:
  RandomResize(RandomResizeOptions options, const Context&) : options_(std::move(options)) {
    check_range("ratio_range", options_.ratio_range);
  }

  void plan(Sample& sample, Philox& random) const override {
    const double ratio = random.uniform(options_.ratio_range[0], options_.ratio_range[1]);
    const double height = std::max(1.0, std::floor(static_cast<double>(options_.size[0]) * ratio));
    const double width = std::max(1.0, std::floor(static_cast<double>(options_.size[1]) * ratio));
    resize_to(sample, height, width, options_.keep_ratio, options_.interpolation);
  }

 private:
  RandomResizeOptions options_;
};

struct RandomChoiceResizeOptions {
  std::vector<std::vector<std::int64_t>> sizes;
  bool keep_ratio = true;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = RandomChoiceResizeOptions;
    using config::field;
    return std::tuple{field("sizes", &O::sizes, "[height, width] in pixels, of which one is drawn")
                          .required()
                          .not_empty(),
                      field("keep_ratio", &O::keep_ratio, kKeepRatioDoc),
                      interpolation_field(&O::interpolation)};
  }
};

class RandomChoiceResize final : public Resizer {
 public:
  RandomChoiceResize(RandomChoiceResizeOptions options, const Context&)
      : options_(std::move(options)) {
    for (std::size_t i = 0; i < options_.sizes.size(); ++i) {
      const auto& size = options_.sizes[i];
      if (size.size() != 2 || size[0] < 1 || size[1] < 1) {
        throw OptionError("sizes." + std::to_string(i), "expected [height, width] of 1 or more");
      }
    }
  }

  void plan(Sample& sample, Philox& random) const override {
    const auto last = static_cast<std::int64_t>(options_.sizes.size()) - 1;
    const auto& size = options_.sizes[static_cast<std::size_t>(random.integer(0, last))];
    resize_to(sample, static_cast<double>(size[0]), static_cast<double>(size[1]),
              options_.keep_ratio, options_.interpolation);
  }

 private:
  RandomChoiceResizeOptions options_;
};

struct ResizeToMultipleOptions {
  std::int64_t size_divisor = 32;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = ResizeToMultipleOptions;
    return std::tuple{config::field("size_divisor", &O::size_divisor,
                                    "height and width grow to the next multiple of it")
                          .at_least(1),
                      interpolation_field(&O::interpolation)};
  }
};

class ResizeToMultiple final : public Resizer {
 public:
  ResizeToMultiple(ResizeToMultipleOptions options, const Context&)
      : options_(std::move(options)) {}

  void plan(Sample& sample, Philox&) const override {
    auto multiple = [divisor = options_.size_divisor](std::int64_t side) {
      return (side + divisor - 1) / divisor * divisor;
    };
    plan_resize(sample, multiple(sample.height()), multiple(sample.width()),
                options_.interpolation);
  }

 private:
  ResizeToMultipleOptions options_;
};

struct ResizeShortestEdgeOptions {
  std::vector<std::int64_t> size;
  std::int64_t max_size = 0;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = ResizeShortestEdgeOptions;
    using config::field;
    return std::tuple{
        field("size", &O::size, "pixels of the shorter side; of several, one is drawn")
            .required()
            .at_least(1)
            .one_or_many()
            .not_empty(),
        field("max_size", &O::max_size,
              "the longer side becomes at most this, the shorter one less then; 0: no limit")
            .at_least(0),
        interpolation_field(&O::interpolation)};
  }
};

class ResizeShortestEdge final : public Resizer {
 public:
  ResizeShortestEdge(ResizeShortestEdgeOptions options, const Context&)
      : options_(std::move(options)) {}

  void plan(Sample& sample, Philox& random) const override {
    const auto last = static_cast<std::int64_t>(options_.size.size()) - 1;
    const auto wanted =
        static_cast<double>(options_.size[static_cast<std::size_t>(random.integer(0, last))]);
    const auto height = static_cast<double>(sample.height());
    const auto width = static_cast<double>(sample.width());
    double factor = wanted / std::min(height, width);
    if (options_.max_size > 0) {
      factor = std::min(factor, static_cast<double>(options_.max_size) / std::max(height, width));
    }
    plan_resize(sample, rounded(height * factor), rounded(width * factor), options_.interpolation);
  }

 private:
  ResizeShortestEdgeOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_resize) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, Resize, ResizeOptions>(
      "Resize", "resizes to a fixed size, or by a factor", {"MultiImgResize"});
  registry.add<Transform, RandomResize, RandomResizeOptions>(
      "RandomResize", "resizes to a size times a random ratio", {"MultiImgRandomResize"});
  registry.add<Transform, RandomChoiceResize, RandomChoiceResizeOptions>(
      "RandomChoiceResize", "resizes to one of several sizes");
  registry.add<Transform, ResizeToMultiple, ResizeToMultipleOptions>(
      "ResizeToMultiple", "resizes to the next multiple of a number", {"MultiImgResizeToMultiple"});
  registry.add<Transform, ResizeShortestEdge, ResizeShortestEdgeOptions>(
      "ResizeShortestEdge", "resizes so that the shorter side has a given length",
      {"MultiImgResizeShortestEdge"});
}
