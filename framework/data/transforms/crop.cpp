// Crops and padding: the same for every date and target. Sizes are [height, width].
#include <algorithm>
#include <array>

#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

template <class Options>
auto crop_size_field(std::vector<std::int64_t> Options::*member) {
  return config::field(
             "size", member,
             "[height, width]; a picture that is smaller keeps its side, unless pad_if_needed")
      .required()
      .size(2)
      .at_least(1)
      .alias("crop_size");
}

struct RandomCropOptions {
  std::vector<std::int64_t> size;
  double cat_max_ratio = 0.75;
  std::string target;
  bool pad_if_needed = false;
  std::vector<double> pad_val = {0};

  static auto fields() {
    using O = RandomCropOptions;
    using config::field;
    return std::tuple{
        crop_size_field(&O::size),
        field("cat_max_ratio", &O::cat_max_ratio,
              "draw again, up to 10 times, while one class covers this share or more of the "
              "labelled pixels; 1: take the first")
            .above(0)
            .at_most(1),
        field("target", &O::target,
              "label whose classes are counted; \"\": the change label, else the first"),
        field("pad_if_needed", &O::pad_if_needed, "pad pictures that are smaller than size"),
        pad_value_field(&O::pad_val)};
  }
};

class RandomCrop final : public Transform {
 public:
  RandomCrop(RandomCropOptions options, const Context& context) : options_(std::move(options)) {
    if (!options_.target.empty()) {
      counted_ = context.labels.get(options_.target).name;
      return;
    }
    for (const LabelSpec& spec : context.labels.all()) {
      if (counted_.empty() || spec.role == "change") counted_ = spec.name;
      if (spec.role == "change") break;
    }
  }

  bool takes_unsettled() const override { return true; }
  void apply(Sample& sample, Philox& random) const override {
    const std::int64_t height = std::min(options_.size[0], sample.height());
    const std::int64_t width = std::min(options_.size[1], sample.width());
    std::int64_t top = 0, left = 0;
    constexpr int kTries = 10;
    for (int i = 0; i < kTries; ++i) {
      top = random.integer(0, sample.height() - height);
      left = random.integer(0, sample.width() - width);
      if (options_.cat_max_ratio >= 1 || varied(sample, top, left, height, width)) break;
    }
    crop_sample(sample, top, left, height, width);
    if (options_.pad_if_needed) {
      pad_sample(sample, options_.size[0], options_.size[1], options_.pad_val);
    }
  }

 private:
  // Whether the window holds two classes or more, none of which covers cat_max_ratio.
  bool varied(const Sample& sample, std::int64_t top, std::int64_t left, std::int64_t height,
              std::int64_t width) const {
    const auto found = sample.targets.find(counted_);
    if (found == sample.targets.end()) return true;
    at::Tensor map = found->second.map;
    if (const auto& resizing = sample.put_off.resizing) {
      map =
          resize_label_window(map, {resizing->height, resizing->width, top, left, height, width});
    } else {
      map = crop(map, top, left, height, width);
    }
    // Four tables: equal neighbours would wait for each other's count in one.
    std::array<std::array<std::int32_t, 256>, 4> count{};
    for (std::int64_t y = 0; y < height; ++y) {
      const auto* row = map.const_data_ptr<std::uint8_t>() + y * map.stride(0);
      std::int64_t x = 0;
      for (; x + 4 <= width; x += 4) {
        ++count[0][row[x]];
        ++count[1][row[x + 1]];
        ++count[2][row[x + 2]];
        ++count[3][row[x + 3]];
      }
      for (; x < width; ++x) ++count[0][row[x]];
    }
    std::int64_t total = 0, largest = 0, classes = 0;
    for (std::size_t v = 0; v < 256; ++v) {
      if (static_cast<std::int64_t>(v) == found->second.spec->ignore_index) continue;
      const std::int64_t here = std::int64_t{count[0][v]} + count[1][v] + count[2][v] + count[3][v];
      total += here;
      largest = std::max(largest, here);
      classes += here > 0;
    }
    return classes > 1 &&
           static_cast<double>(largest) < options_.cat_max_ratio * static_cast<double>(total);
  }

  RandomCropOptions options_;
  std::string counted_;
};

struct CenterCropOptions {
  std::vector<std::int64_t> size;
  bool pad_if_needed = false;
  std::vector<double> pad_val = {0};

  static auto fields() {
    using O = CenterCropOptions;
    using config::field;
    return std::tuple{
        crop_size_field(&O::size),
        field("pad_if_needed", &O::pad_if_needed, "pad pictures that are smaller than size")
            .alias("auto_pad"),
        pad_value_field(&O::pad_val)};
  }
};

class CenterCrop final : public Transform {
 public:
  CenterCrop(CenterCropOptions options, const Context&) : options_(std::move(options)) {}

  bool takes_unsettled() const override { return true; }
  void apply(Sample& sample, Philox&) const override {
    const std::int64_t height = std::min(options_.size[0], sample.height());
    const std::int64_t width = std::min(options_.size[1], sample.width());
    crop_sample(sample, (sample.height() - height) / 2, (sample.width() - width) / 2, height,
                width);
    if (options_.pad_if_needed) {
      pad_sample(sample, options_.size[0], options_.size[1], options_.pad_val);
    }
  }

 private:
  CenterCropOptions options_;
};

struct PadOptions {
  std::vector<std::int64_t> size = {0, 0};
  std::int64_t size_divisor = 1;
  bool pad_to_square = false;
  std::vector<double> pad_val = {0};
  std::string padding_mode = "constant";

  static auto fields() {
    using O = PadOptions;
    using config::field;
    return std::tuple{
        field("size", &O::size, "[height, width] to reach at least; larger pictures stay")
            .size(2)
            .at_least(0),
        field("size_divisor", &O::size_divisor, "height and width become multiples of it")
            .at_least(1),
        field("pad_to_square", &O::pad_to_square, "the shorter side becomes as long as the other"),
        pad_value_field(&O::pad_val),
        field("padding_mode", &O::padding_mode,
              "\"constant\": pad_val; or the picture's \"edge\", its mirror image without "
              "(\"reflect\") or with the last pixel (\"symmetric\"); labels get ignore_index in "
              "every mode")
            .one_of({"constant", "edge", "reflect", "symmetric"})};
  }
};

class Pad final : public Transform {
 public:
  Pad(PadOptions options, const Context&) : options_(std::move(options)) {
    const PadOptions& o = options_;
    if (o.size[0] == 0 && o.size[1] == 0 && o.size_divisor == 1 && !o.pad_to_square) {
      throw OptionError("", "pads nothing; set size, size_divisor or pad_to_square");
    }
  }

  void apply(Sample& sample, Philox&) const override {
    const std::int64_t longest =
        options_.pad_to_square ? std::max(sample.height(), sample.width()) : 0;
    auto side = [&](std::int64_t now, std::int64_t wanted) {
      const std::int64_t divisor = options_.size_divisor;
      return (std::max({now, wanted, longest}) + divisor - 1) / divisor * divisor;
    };
    const std::int64_t height = side(sample.height(), options_.size[0]);
    const std::int64_t width = side(sample.width(), options_.size[1]);
    const std::vector<at::Tensor> images = sample.images;
    pad_sample(sample, height, width, options_.pad_val);
    if (options_.padding_mode == "constant") return;
    for (std::size_t i = 0; i < images.size(); ++i) {
      sample.images[i] = pad_mirrored(images[i], height, width, options_.padding_mode);
    }
  }

 private:
  PadOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_crop) {
  using namespace strata::data;
  registry.add<strata::Transform, RandomCrop, RandomCropOptions>(
      "RandomCrop", "cuts out a random window that holds more than one class",
      {"MultiImgRandomCrop"});
  registry.add<strata::Transform, CenterCrop, CenterCropOptions>("CenterCrop",
                                                                 "cuts out the middle");
  registry.add<strata::Transform, Pad, PadOptions>(
      "Pad", "fills up to a size or a multiple, below and to the right", {"MultiImgPad"});
}
