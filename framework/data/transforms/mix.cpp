// Transforms that cut holes into a sample, or put several together: the same for every date and
// target.
#include <ATen/ops/clamp.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <opencv2/core.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

cv::Scalar fill_of(const std::vector<double>& value, int channels) {
  cv::Scalar scalar = cv::Scalar::all(value[0]);
  for (int c = 0; c < channels && value.size() > 1; ++c)
    scalar[c] = value[static_cast<std::size_t>(c)];
  return scalar;
}

void fill_area(at::Tensor& pixels, const cv::Rect& area, const std::vector<double>& value) {
  cv::Mat mat = mat_of(pixels);
  if (mat.channels() <= 4) {
    mat(area).setTo(fill_of(value, mat.channels()));
    return;
  }
  for (int c = 0; c < mat.channels(); ++c) {  // a cv::Scalar holds four values
    const double one = value[value.size() == 1 ? 0 : static_cast<std::size_t>(c)];
    cv::insertChannel(cv::Mat(area.size(), mat.depth(), cv::Scalar::all(one)), mat(area), c);
  }
}

at::Tensor copy_of(const at::Tensor& pixels) {
  at::Tensor result = like(pixels);
  cv::Mat out = mat_of(result);
  mat_of(pixels).copyTo(out);
  return result;
}

struct RandomCutOutOptions {
  double prob = 0.5;
  std::vector<std::int64_t> n_holes = {1};
  std::vector<std::int64_t> cutout_shape;
  std::vector<double> cutout_ratio;
  std::vector<double> fill_in = {0};
  std::optional<std::int64_t> seg_fill_in;

  static auto fields() {
    using O = RandomCutOutOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("n_holes", &O::n_holes, "number of holes, or [fewest, most]")
            .at_least(1)
            .one_or_many()
            .not_empty(),
        field("cutout_shape", &O::cutout_shape, "[height, width] of a hole in pixels").at_least(1),
        field("cutout_ratio", &O::cutout_ratio,
              "instead of cutout_shape: as a share of the picture's [height, width]")
            .above(0)
            .at_most(1),
        field("fill_in", &O::fill_in, "value of the pixels in a hole, one or one a channel")
            .at_least(0)
            .at_most(255)
            .one_or_many()
            .not_empty(),
        field("seg_fill_in", &O::seg_fill_in,
              "label value in a hole; left out: labels stay as they are")
            .at_least(0)
            .at_most(255)};
  }
};

class RandomCutOut final : public Transform {
 public:
  RandomCutOut(RandomCutOutOptions options, const Context& context) : options_(std::move(options)) {
    if (options_.cutout_shape.empty() == options_.cutout_ratio.empty()) {
      throw OptionError("", options_.cutout_shape.empty()
                                ? "needs cutout_shape or cutout_ratio"
                                : "takes cutout_shape or cutout_ratio, not both");
    }
    const bool pixels = !options_.cutout_shape.empty();
    if ((pixels ? options_.cutout_shape.size() : options_.cutout_ratio.size()) != 2) {
      throw OptionError(pixels ? "cutout_shape" : "cutout_ratio", "expected [height, width]");
    }
    if (options_.n_holes.size() == 1) options_.n_holes.push_back(options_.n_holes[0]);
    if (options_.n_holes.size() != 2) throw OptionError("n_holes", "takes one number or a range");
    check_range("n_holes", options_.n_holes);
    if (!options_.seg_fill_in) return;
    for (const LabelSpec& spec : context.labels.all()) {
      const std::int64_t value = *options_.seg_fill_in;
      if (value == spec.ignore_index || value < spec.num_classes()) continue;
      throw OptionError("seg_fill_in",
                        "must be a class of label \"" + spec.name + "\" or its ignore_index");
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const std::int64_t holes = random.integer(options_.n_holes[0], options_.n_holes[1]);
    if (!act) return;
    check_fill(sample, options_.fill_in);
    for (at::Tensor& image : sample.images) image = copy_of(image);
    if (options_.seg_fill_in) {
      for (auto& [name, target] : sample.targets) target.map = copy_of(target.map);
    }
    for (std::int64_t i = 0; i < holes; ++i) {
      const cv::Rect area = hole(sample, random);
      for (at::Tensor& image : sample.images) fill_area(image, area, options_.fill_in);
      if (!options_.seg_fill_in) continue;
      for (auto& [name, target] : sample.targets) {
        fill_area(target.map, area, {static_cast<double>(*options_.seg_fill_in)});
      }
    }
  }

 private:
  // Its upper left corner lies anywhere in the picture; what hangs over the edge is cut.
  cv::Rect hole(const Sample& sample, Philox& random) const {
    const std::int64_t top = random.integer(0, sample.height() - 1);
    const std::int64_t left = random.integer(0, sample.width() - 1);
    auto side = [&](std::size_t axis, std::int64_t whole) {
      if (!options_.cutout_shape.empty()) return options_.cutout_shape[axis];
      return static_cast<std::int64_t>(options_.cutout_ratio[axis] * static_cast<double>(whole));
    };
    const std::int64_t height = std::min(side(0, sample.height()), sample.height() - top);
    const std::int64_t width = std::min(side(1, sample.width()), sample.width() - left);
    return {static_cast<int>(left), static_cast<int>(top), static_cast<int>(width),
            static_cast<int>(height)};
  }

  RandomCutOutOptions options_;
};

struct RandomMosaicOptions {
  double prob = 0.5;
  std::vector<std::int64_t> size = {640, 640};
  std::vector<double> center_ratio_range = {0.5, 1.5};
  std::vector<double> pad_val = {0};

  static auto fields() {
    using O = RandomMosaicOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("size", &O::size,
              "[height, width] that each of the four is made to fit; the mosaic is twice as large")
            .size(2)
            .at_least(1)
            .alias("img_scale"),
        field("center_ratio_range", &O::center_ratio_range,
              "where the four meet, as a range of shares of size")
            .size(2)
            .at_least(0)
            .at_most(2),
        pad_value_field(&O::pad_val)};
  }
};

// What four pictures show, shows in their mosaic: the tags of each in turn, best first.
void join_tags(std::vector<std::vector<std::string>>& tags,
               const std::vector<std::vector<std::vector<std::string>>>& parts) {
  tags.clear();
  for (const auto& part : parts) tags.resize(std::max(tags.size(), part.size()));
  for (std::size_t date = 0; date < tags.size(); ++date) {
    std::size_t longest = 0;
    for (const auto& part : parts) {
      if (date < part.size()) longest = std::max(longest, part[date].size());
    }
    for (std::size_t rank = 0; rank < longest; ++rank) {
      for (const auto& part : parts) {
        if (date >= part.size() || rank >= part[date].size()) continue;
        const std::string& tag = part[date][rank];
        auto& all = tags[date];
        if (std::find(all.begin(), all.end(), tag) == all.end()) all.push_back(tag);
      }
    }
  }
}

/// Four samples around a point (Bochkovskiy et al., "YOLOv4", 2020; mmseg's rule): this one upper
/// left, then three others. What they leave is pad_val, and ignore_index in labels.
class RandomMosaic final : public Transform {
 public:
  RandomMosaic(RandomMosaicOptions options, const Context&) : options_(std::move(options)) {
    check_range("center_ratio_range", options_.center_ratio_range);
  }

  void apply(Sample&, Philox&) const override {
    throw std::logic_error("RandomMosaic needs other samples: call mix()");
  }

  void mix(Sample& sample, Philox& random, const Another& another) const override {
    const bool act = random.chance(options_.prob);
    const auto& range = options_.center_ratio_range;
    const auto middle_x = static_cast<int>(random.uniform(range[0], range[1]) *
                                           static_cast<double>(options_.size[1]));
    const auto middle_y = static_cast<int>(random.uniform(range[0], range[1]) *
                                           static_cast<double>(options_.size[0]));
    if (!act) return;
    check_fill(sample, options_.pad_val);
    const auto height = static_cast<int>(2 * options_.size[0]);
    const auto width = static_cast<int>(2 * options_.size[1]);
    const cv::Rect whole(0, 0, width, height);
    Sample result = sample;
    for (at::Tensor& image : result.images) {
      image = like(image, height, width);
      fill_area(image, whole, options_.pad_val);
    }
    for (auto& [name, target] : result.targets) {
      target.map = like(target.map, height, width);
      fill_area(target.map, whole, {static_cast<double>(target.spec->ignore_index)});
    }
    std::vector<std::vector<std::vector<std::string>>> tags;
    for (int quarter = 0; quarter < 4; ++quarter) {
      Sample part = quarter == 0 ? std::move(sample) : another();
      check_alike(result, part);
      tags.push_back(part.meta.tags);
      const double factor =
          std::min(static_cast<double>(options_.size[0]) / static_cast<double>(part.height()),
                   static_cast<double>(options_.size[1]) / static_cast<double>(part.width()));
      auto scaled = [&](std::int64_t side) {
        return std::max<std::int64_t>(
            1, static_cast<std::int64_t>(static_cast<double>(side) * factor));
      };
      resize_sample(part, scaled(part.height()), scaled(part.width()), "bilinear");
      const auto h = static_cast<int>(part.height()), w = static_cast<int>(part.width());
      // Left ones end at the middle, right ones begin there; so with upper and lower ones.
      const cv::Rect to = cv::Rect(quarter % 2 == 0 ? middle_x - w : middle_x,
                                   quarter < 2 ? middle_y - h : middle_y, w, h);
      const cv::Rect there = to & whole;
      if (there.empty()) continue;
      const cv::Rect from = there - to.tl();
      auto copy = [&](const at::Tensor& in, at::Tensor& out) {
        cv::Mat target = mat_of(out)(there);
        mat_of(in)(from).copyTo(target);
      };
      for (std::size_t i = 0; i < result.images.size(); ++i) copy(part.images[i], result.images[i]);
      for (auto& [name, target] : result.targets) copy(part.targets.at(name).map, target.map);
    }
    join_tags(result.meta.tags, tags);
    whole_area_valid(result);
    sample = std::move(result);
  }

 private:
  static void check_alike(const Sample& a, const Sample& b) {
    bool alike = a.images.size() == b.images.size() && a.targets.size() == b.targets.size();
    for (std::size_t i = 0; alike && i < a.images.size(); ++i) {
      alike = a.images[i].scalar_type() == b.images[i].scalar_type() &&
              a.images[i].size(2) == b.images[i].size(2);
    }
    for (const auto& [name, target] : a.targets) alike = alike && b.targets.contains(name);
    if (alike) return;
    throw DataError(b.meta.paths.front() + ": is of another kind than " + a.meta.paths.front() +
                    " (channels, 8 bits or more, labels), so RandomMosaic cannot join them; "
                    "convert them to one kind");
  }

  RandomMosaicOptions options_;
};

struct RandomDepthMixOptions {
  double prob = 0.25;
  double mix_scale_ratio = 0.75;
  double depth_rescale_factor = 1;
  bool keep_depth = false;

  static auto fields() {
    using O = RandomDepthMixOptions;
    using config::field;
    return std::tuple{
        prob_field(&O::prob),
        field("mix_scale_ratio", &O::mix_scale_ratio,
              "largest width of the strip as a share of what lies to the right of its left end")
            .above(0)
            .at_most(1),
        field("depth_rescale_factor", &O::depth_rescale_factor,
              "depth is divided by it before it is put in")
            .above(0),
        field("keep_depth", &O::keep_depth,
              "leave the depth channel in the picture; otherwise the other channels remain")};
  }
};

/// In a strip of columns every channel shows the depth, which is the last channel of the picture
/// (Kim et al., "Global-Local Path Networks for Monocular Depth Estimation with Vertical
/// CutDepth", 2022).
class RandomDepthMix final : public Transform {
 public:
  RandomDepthMix(RandomDepthMixOptions options, const Context&) : options_(options) {}

  void apply(Sample& sample, Philox& random) const override {
    const bool act = random.chance(options_.prob);
    const std::int64_t across = sample.width();
    const auto left = static_cast<std::int64_t>(static_cast<double>(across) * random.uniform());
    const double share = options_.mix_scale_ratio * random.uniform();
    const auto width =
        std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(across - left) * share));
    for (std::size_t i = 0; i < sample.images.size(); ++i) {
      at::Tensor& image = sample.images[i];
      const std::int64_t colours = image.size(2) - 1;
      if (colours < 1) {
        throw DataError(sample.meta.paths[i] +
                        ": has 1 channel, but RandomDepthMix takes the depth from the last of "
                        "several; add it to the picture and set color_type = \"unchanged\"");
      }
      if (act) {
        image = copy_of(image);
        const at::Tensor strip = image.narrow(1, left, width);
        const at::Tensor depth =
            strip.narrow(2, colours, 1).to(at::kDouble).div(options_.depth_rescale_factor);
        strip.narrow(2, 0, colours).copy_(image.is_floating_point() ? depth : depth.clamp(0, 255));
      }
      if (!options_.keep_depth) image = image.narrow(2, 0, colours).contiguous();
    }
  }

 private:
  RandomDepthMixOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_mix) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, RandomCutOut, RandomCutOutOptions>(
      "RandomCutOut", "fills random rectangles", {"MultiImgRandomCutOut"});
  registry.add<Transform, RandomDepthMix, RandomDepthMixOptions>(
      "RandomDepthMix", "shows the depth, which is the last channel, in a strip of the picture");
  registry.add<Transform, RandomMosaic, RandomMosaicOptions>("RandomMosaic",
                                                             "puts four samples together");
}
