// Transforms of size and orientation: the same for every date and target. Sizes are [height, width]
// everywhere (MMCV's Resize and Pad take [width, height]).
#include <algorithm>
#include <cmath>

#include "framework/data/pixels.hpp"
#include "framework/data/transform.hpp"

namespace strata::data {

namespace {

void resize_sample(Sample& sample, std::int64_t height, std::int64_t width,
                   const std::string& interpolation) {
  const std::int64_t from_height = sample.height(), from_width = sample.width();
  for (at::Tensor& image : sample.images) {
    image = resize_image(image, height, width, interpolation);
  }
  for (auto& [name, target] : sample.targets) target.map = resize_label(target.map, height, width);
  // The valid area shrinks with the picture.
  sample.meta.height = std::max<std::int64_t>(1, sample.meta.height * height / from_height);
  sample.meta.width = std::max<std::int64_t>(1, sample.meta.width * width / from_width);
}

struct PixelSize {
  std::int64_t height, width;
};

// MMCV's rule: as large as fits both the longer and the shorter side of the wanted size, whichever
// way the picture lies.
PixelSize keep_ratio_size(const Sample& sample, double height, double width) {
  const auto longer = static_cast<double>(std::max(sample.height(), sample.width()));
  const auto shorter = static_cast<double>(std::min(sample.height(), sample.width()));
  const double factor =
      std::min(std::max(height, width) / longer, std::min(height, width) / shorter);
  auto scaled = [&](std::int64_t side) {
    const double exact = static_cast<double>(side) * factor;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(exact + 0.5));
  };
  return {scaled(sample.height()), scaled(sample.width())};
}

const char* const kSizeDoc = "[height, width] in pixels";
const char* const kKeepRatioDoc =
    "keep the picture's ratio: as large as fits the longer and the shorter side of size";

auto interpolation_field(auto member) {
  return config::field("interpolation", member, "of images; labels take the nearest pixel")
      .one_of({"bilinear", "nearest", "bicubic", "area"});
}

struct ResizeOptions {
  std::vector<std::int64_t> size;
  bool keep_ratio = false;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = ResizeOptions;
    using config::field;
    return std::tuple{field("size", &O::size, kSizeDoc).required().size(2).at_least(1),
                      field("keep_ratio", &O::keep_ratio, kKeepRatioDoc),
                      interpolation_field(&O::interpolation)};
  }
};

class Resize final : public Transform {
 public:
  Resize(ResizeOptions options, const Context&) : options_(std::move(options)) {}

  void apply(Sample& sample, Philox&) const override {
    PixelSize size{options_.size[0], options_.size[1]};
    if (options_.keep_ratio) {
      size = keep_ratio_size(sample, static_cast<double>(size.height),
                             static_cast<double>(size.width));
    }
    resize_sample(sample, size.height, size.width, options_.interpolation);
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

class RandomResize final : public Transform {
 public:
  RandomResize(RandomResizeOptions options, const Context&) : options_(std::move(options)) {
    if (options_.ratio_range[0] > options_.ratio_range[1]) {
      throw OptionError("ratio_range", "its lower end is above its upper end");
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    const double ratio = random.uniform(options_.ratio_range[0], options_.ratio_range[1]);
    const double height = std::max(1.0, std::floor(static_cast<double>(options_.size[0]) * ratio));
    const double width = std::max(1.0, std::floor(static_cast<double>(options_.size[1]) * ratio));
    PixelSize size{static_cast<std::int64_t>(height), static_cast<std::int64_t>(width)};
    if (options_.keep_ratio) size = keep_ratio_size(sample, height, width);
    resize_sample(sample, size.height, size.width, options_.interpolation);
  }

 private:
  RandomResizeOptions options_;
};

// After a flip or a turn, padding is no longer below and to the right: it counts as picture.
void whole_area_valid(Sample& sample) {
  sample.meta.height = sample.height();
  sample.meta.width = sample.width();
}

struct RandomFlipOptions {
  double prob = 0.5;
  std::vector<std::string> direction = {"horizontal"};

  static auto fields() {
    using O = RandomFlipOptions;
    using config::field;
    return std::tuple{
        field("prob", &O::prob, "probability of a flip").at_least(0).at_most(1),
        field("direction", &O::direction,
              "\"horizontal\", \"vertical\" or \"diagonal\" (both); of several, one is drawn")
            .one_of({"horizontal", "vertical", "diagonal"})
            .one_or_many()
            .not_empty()};
  }
};

class RandomFlip final : public Transform {
 public:
  RandomFlip(RandomFlipOptions options, const Context&) : options_(std::move(options)) {}

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const auto last = static_cast<std::int64_t>(options_.direction.size()) - 1;
    const std::string& way = options_.direction[static_cast<std::size_t>(random.integer(0, last))];
    if (!act) return;
    const bool horizontal = way != "vertical", vertical = way != "horizontal";
    for (at::Tensor& image : sample.images) image = flip(image, horizontal, vertical);
    for (auto& [name, target] : sample.targets) {
      target.map = flip(target.map, horizontal, vertical);
    }
    whole_area_valid(sample);
  }

 private:
  RandomFlipOptions options_;
};

struct RandomRotate90Options {
  double prob = 0.5;

  static auto fields() {
    return std::tuple{config::field("prob", &RandomRotate90Options::prob,
                                    "probability of a turn by 90, 180 or 270 degrees")
                          .at_least(0)
                          .at_most(1)};
  }
};

class RandomRotate90 final : public Transform {
 public:
  RandomRotate90(RandomRotate90Options options, const Context&) : options_(options) {}

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const std::int64_t quarters = random.integer(1, 3);
    if (!act) return;
    for (at::Tensor& image : sample.images) image = rotate90(image, quarters);
    for (auto& [name, target] : sample.targets) target.map = rotate90(target.map, quarters);
    whole_area_valid(sample);
  }

 private:
  RandomRotate90Options options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_geometry) {
  using namespace strata::data;
  registry.add<strata::Transform, Resize, ResizeOptions>("Resize", "resizes to a fixed size");
  registry.add<strata::Transform, RandomResize, RandomResizeOptions>(
      "RandomResize", "resizes to a size times a random ratio");
  registry.add<strata::Transform, RandomFlip, RandomFlipOptions>("RandomFlip", "mirrors at random");
  registry.add<strata::Transform, RandomRotate90, RandomRotate90Options>(
      "RandomRotate90", "turns by 90, 180 or 270 degrees at random");
}
