// Transforms of orientation: the same for every date and target.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

struct RandomFlipOptions {
  std::vector<double> prob = {0.5};
  std::vector<std::string> direction = {"horizontal"};
  std::vector<std::vector<std::int64_t>> swap_seg_labels;

  static auto fields() {
    using O = RandomFlipOptions;
    using config::field;
    return std::tuple{
        field("prob", &O::prob, "probability of a flip, or one for each direction")
            .at_least(0)
            .at_most(1)
            .one_or_many()
            .not_empty(),
        field("direction", &O::direction,
              "\"horizontal\", \"vertical\" or \"diagonal\" (both); of several, one is drawn")
            .one_of({"horizontal", "vertical", "diagonal"})
            .one_or_many()
            .not_empty(),
        field("swap_seg_labels", &O::swap_seg_labels,
              "pairs of label values, left and right of the same thing, that a horizontal flip "
              "exchanges")};
  }
};

class RandomFlip final : public Transform {
 public:
  RandomFlip(RandomFlipOptions options, const Context&) : options_(std::move(options)) {
    const std::size_t ways = options_.direction.size();
    if (options_.prob.size() > 1 && options_.prob.size() != ways) {
      throw OptionError("prob", "has " + std::to_string(options_.prob.size()) +
                                    " values, direction has " + std::to_string(ways));
    }
    double sum = 0;
    for (const double each : options_.prob) sum += each;
    if (sum > 1) throw OptionError("prob", "its values add up to more than 1");
    for (std::size_t i = 0; i < options_.swap_seg_labels.size(); ++i) {
      const auto& pair = options_.swap_seg_labels[i];
      if (pair.size() != 2 || std::min(pair[0], pair[1]) < 0 || std::max(pair[0], pair[1]) > 255) {
        throw OptionError("swap_seg_labels." + std::to_string(i),
                          "expected two label values from 0 to 255");
      }
      std::swap(swapped_[static_cast<std::size_t>(pair[0])],
                swapped_[static_cast<std::size_t>(pair[1])]);
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    const std::string* way = draw(random);
    if (way == nullptr) return;
    const bool horizontal = *way != "vertical", vertical = *way != "horizontal";
    for (at::Tensor& image : sample.images) image = flip(image, horizontal, vertical);
    for (auto& [name, target] : sample.targets) {
      target.map = flip(target.map, horizontal, vertical);
      if (horizontal && !options_.swap_seg_labels.empty()) {
        target.map = look_up(target.map, swapped_);
      }
    }
    whole_area_valid(sample);
  }

 private:
  // The direction, or null: no flip. Draws the same number of values whatever comes of them.
  const std::string* draw(Philox& random) const {
    double chosen = random.uniform();
    const auto last = static_cast<std::int64_t>(options_.direction.size()) - 1;
    const auto any = static_cast<std::size_t>(random.integer(0, last));
    if (options_.prob.size() == 1) {
      return chosen < options_.prob[0] ? &options_.direction[any] : nullptr;
    }
    for (std::size_t i = 0; i < options_.prob.size(); ++i) {
      if (chosen < options_.prob[i]) return &options_.direction[i];
      chosen -= options_.prob[i];
    }
    return nullptr;
  }

  RandomFlipOptions options_;
  Table swapped_ = identity_table();
};

void turn_sample(Sample& sample, std::int64_t quarters) {
  for (at::Tensor& image : sample.images) image = rotate90(image, quarters);
  for (auto& [name, target] : sample.targets) target.map = rotate90(target.map, quarters);
  whole_area_valid(sample);
}

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
    if (act) turn_sample(sample, quarters);
  }

 private:
  RandomRotate90Options options_;
};

void warp_sample(Sample& sample, const Affine& affine, std::int64_t height, std::int64_t width,
                 const std::string& interpolation, const std::vector<double>& fill) {
  check_fill(sample, fill);
  for (at::Tensor& image : sample.images) {
    image = warp(image, affine, height, width, interpolation, fill);
  }
  for (auto& [name, target] : sample.targets) {
    target.map = warp(target.map, affine, height, width, "nearest",
                      {static_cast<double>(target.spec->ignore_index)});
  }
  whole_area_valid(sample);
}

// `linear` (a b; d e) about (x, y).
Affine about(const std::array<double, 4>& linear, double x, double y) {
  const auto [a, b, d, e] = linear;
  return {a, b, x - a * x - b * y, d, e, y - d * x - e * y};
}

// Clockwise, as MMCV counts.
std::array<double, 4> rotation(double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  return {std::cos(angle), -std::sin(angle), std::sin(angle), std::cos(angle)};
}

double middle(std::int64_t side) { return static_cast<double>(side - 1) / 2; }

auto warp_interpolation_field(auto member) {
  return config::field("interpolation", member, "of images; labels take the nearest pixel")
      .one_of({"bilinear", "bicubic", "nearest"});
}

struct RandomRotateOptions {
  double prob = 0.5;
  std::vector<double> degree;
  std::vector<double> pad_val = {0};
  std::vector<double> center;
  bool auto_bound = false;
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = RandomRotateOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("degree", &O::degree, "largest angle either way, or [lowest, highest]; clockwise")
            .required()
            .one_or_many()
            .not_empty(),
        pad_value_field(&O::pad_val),
        field("center", &O::center, "[row, column] to turn about; left out: the middle"),
        field("auto_bound", &O::auto_bound, "grow so that nothing is cut off"),
        warp_interpolation_field(&O::interpolation)};
  }
};

class RandomRotate final : public Transform {
 public:
  RandomRotate(RandomRotateOptions options, const Context&) : options_(std::move(options)) {
    options_.degree = range_of("degree", options_.degree);
    if (!options_.center.empty() && options_.center.size() != 2) {
      throw OptionError("center", "expected [row, column]");
    }
    if (!options_.center.empty() && options_.auto_bound) {
      throw OptionError("center", "does not go with auto_bound");
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const double degrees = random.uniform(options_.degree[0], options_.degree[1]);
    if (!act) return;
    std::int64_t height = sample.height(), width = sample.width();
    const bool middle_there = options_.center.empty();
    Affine affine = about(rotation(degrees), middle_there ? middle(width) : options_.center[1],
                          middle_there ? middle(height) : options_.center[0]);
    if (options_.auto_bound) {
      const auto h = static_cast<double>(height), w = static_cast<double>(width);
      const double cos = std::abs(affine[0]), sin = std::abs(affine[3]);
      const double new_height = h * cos + w * sin, new_width = h * sin + w * cos;
      height = std::llround(new_height);
      width = std::llround(new_width);
      affine[2] += (static_cast<double>(width) - w) / 2;
      affine[5] += (static_cast<double>(height) - h) / 2;
    }
    warp_sample(sample, affine, height, width, options_.interpolation, options_.pad_val);
  }

 private:
  RandomRotateOptions options_;
};

struct RandomRotFlipOptions {
  double rotate_prob = 0.5;
  double flip_prob = 0.5;
  std::vector<double> degree = {20};
  std::vector<double> pad_val = {0};

  static auto fields() {
    using O = RandomRotFlipOptions;
    using config::field;
    return std::tuple{field("rotate_prob", &O::rotate_prob,
                            "probability of a turn by any quarters and then a flip either way")
                          .at_least(0)
                          .at_most(1),
                      field("flip_prob", &O::flip_prob,
                            "else: probability of a turn by whole degrees (mmseg's name)")
                          .at_least(0)
                          .at_most(1),
                      field("degree", &O::degree, "largest angle either way, or [lowest, highest]")
                          .one_or_many()
                          .not_empty(),
                      pad_value_field(&O::pad_val)};
  }
};

/// Either of a turn by quarters with a flip, or a turn by degrees (mmseg's rule).
class RandomRotFlip final : public Transform {
 public:
  RandomRotFlip(RandomRotFlipOptions options, const Context&) : options_(std::move(options)) {
    options_.degree = range_of("degree", options_.degree);
  }

  void apply(Sample& sample, Philox& random) const override {
    const bool quarters_and_flip = random.chance(options_.rotate_prob);
    const std::int64_t quarters = random.integer(0, 3);
    const bool horizontal = random.chance(0.5);
    const bool by_degrees = random.chance(options_.flip_prob);
    const std::int64_t degrees =
        random.integer(std::llround(options_.degree[0]), std::llround(options_.degree[1]));
    if (quarters_and_flip) {
      turn_sample(sample, quarters);
      for (at::Tensor& image : sample.images) image = flip(image, horizontal, !horizontal);
      for (auto& [name, target] : sample.targets) {
        target.map = flip(target.map, horizontal, !horizontal);
      }
    } else if (by_degrees) {
      warp_sample(sample,
                  about(rotation(static_cast<double>(degrees)), middle(sample.width()),
                        middle(sample.height())),
                  sample.height(), sample.width(), "bilinear", options_.pad_val);
    }
  }

 private:
  RandomRotFlipOptions options_;
};

struct RandomAffineOptions {
  double prob = 0.5;
  std::vector<double> rotate = {0};
  std::vector<double> scale = {1, 1};
  std::vector<double> translate = {0, 0};
  std::vector<double> shear = {0};
  std::vector<double> pad_val = {0};
  std::string interpolation = "bilinear";

  static auto fields() {
    using O = RandomAffineOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("rotate", &O::rotate, "largest angle in degrees either way, or [lowest, highest]")
            .one_or_many()
            .not_empty(),
        field("scale", &O::scale, "range of the factor of size").size(2).above(0),
        field("translate", &O::translate,
              "largest move either way, as a share of [height, width]; one number: both")
            .at_least(0)
            .at_most(1)
            .one_or_many()
            .not_empty(),
        field("shear", &O::shear, "largest shear in degrees either way, or [lowest, highest]")
            .one_or_many()
            .not_empty(),
        pad_value_field(&O::pad_val),
        warp_interpolation_field(&O::interpolation)};
  }
};

/// Scale, shear along the rows, rotation about the middle, then a move.
class RandomAffine final : public Transform {
 public:
  RandomAffine(RandomAffineOptions options, const Context&) : options_(std::move(options)) {
    options_.rotate = range_of("rotate", options_.rotate);
    options_.shear = range_of("shear", options_.shear);
    if (options_.shear[0] <= -90 || options_.shear[1] >= 90) {
      throw OptionError("shear", "angles are above -90 and below 90 degrees");
    }
    check_range("scale", options_.scale);
    if (options_.translate.size() == 1) options_.translate.push_back(options_.translate[0]);
    if (options_.translate.size() > 2) {
      throw OptionError("translate", "takes one number or [of the height, of the width]");
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const auto [a, b, d, e] = rotation(random.uniform(options_.rotate[0], options_.rotate[1]));
    const double scale = random.uniform(options_.scale[0], options_.scale[1]);
    const double down = random.uniform(-options_.translate[0], options_.translate[0]);
    const double right = random.uniform(-options_.translate[1], options_.translate[1]);
    const double slope =
        std::tan(random.uniform(options_.shear[0], options_.shear[1]) * std::numbers::pi / 180);
    if (!act) return;
    Affine affine = about({scale * a, scale * (a * slope + b), scale * d, scale * (d * slope + e)},
                          middle(sample.width()), middle(sample.height()));
    affine[2] += right * static_cast<double>(sample.width());
    affine[5] += down * static_cast<double>(sample.height());
    warp_sample(sample, affine, sample.height(), sample.width(), options_.interpolation,
                options_.pad_val);
  }

 private:
  RandomAffineOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_geometry) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, RandomFlip, RandomFlipOptions>("RandomFlip", "mirrors at random",
                                                         {"MultiImgRandomFlip"});
  registry.add<Transform, RandomRotate90, RandomRotate90Options>(
      "RandomRotate90", "turns by 90, 180 or 270 degrees at random");
  registry.add<Transform, RandomRotate, RandomRotateOptions>(
      "RandomRotate", "turns by a random angle", {"MultiImgRandomRotate"});
  registry.add<Transform, RandomRotFlip, RandomRotFlipOptions>(
      "RandomRotFlip", "turns by quarters and mirrors, or turns by a few degrees",
      {"MultiImgRandomRotFlip"});
  registry.add<Transform, RandomAffine, RandomAffineOptions>(
      "RandomAffine", "turns, scales, shears and moves at random", {"Affine"});
}
