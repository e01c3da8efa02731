// Transforms of what dates and targets mean: dates exchanged, edges of a label map as a target, the
// size of label maps.
#include <algorithm>
#include <opencv2/imgproc.hpp>

#include "framework/data/mats.hpp"
#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

struct ExchangeTimeOptions {
  double prob = 0.5;

  static auto fields() {
    return std::tuple{config::field("prob", &ExchangeTimeOptions::prob,
                                    "probability that the dates are taken in reverse order")
                          .at_least(0)
                          .at_most(1)};
  }
};

/// The last date becomes the first: pictures, and semantic labels of each date. What happened
/// between dates (role "change") stays, as a change back is a change too.
class ExchangeTime final : public Transform {
 public:
  ExchangeTime(ExchangeTimeOptions options, const Context& context)
      : options_(options), labels_(context.labels) {}

  void apply(Sample& sample, Philox& random) const override {
    if (!random.chance(options_.prob)) return;
    std::reverse(sample.images.begin(), sample.images.end());
    std::reverse(sample.meta.paths.begin(), sample.meta.paths.end());
    std::reverse(sample.meta.tags.begin(), sample.meta.tags.end());
    const auto last = static_cast<std::int64_t>(sample.images.size()) - 1;
    std::map<std::string, at::Tensor> maps;
    for (const auto& [name, target] : sample.targets) {
      if (target.spec->role != "semantic" || 2 * target.spec->date == last) continue;
      maps[name] = sample.targets.at(twin_of(*target.spec, last, sample)).map;
    }
    for (auto& [name, map] : maps) sample.targets.at(name).map = std::move(map);
  }

 private:
  // The label of the same classes at the date with which `spec`'s is exchanged; of several, the one
  // that comes as late in the config.
  std::string twin_of(const LabelSpec& spec, std::int64_t last, const Sample& sample) const {
    auto like_it = [&](std::int64_t date) {
      std::vector<std::string> names;
      for (const LabelSpec& other : labels_.all()) {
        if (other.role == "semantic" && other.date == date && other.classes == spec.classes &&
            sample.targets.contains(other.name)) {
          names.push_back(other.name);
        }
      }
      return names;
    };
    const auto own = like_it(spec.date), others = like_it(last - spec.date);
    const auto place = std::find(own.begin(), own.end(), spec.name) - own.begin();
    if (own.size() != others.size()) {
      throw DataError(sample.meta.paths.front() + ": label \"" + spec.name + "\" of date " +
                      std::to_string(spec.date) + " has no partner of the same classes at date " +
                      std::to_string(last - spec.date) +
                      ", so the dates cannot be exchanged; "
                      "declare one, or take ExchangeTime out of the transforms");
    }
    return others[static_cast<std::size_t>(place)];
  }

  ExchangeTimeOptions options_;
  LabelSpecs labels_;
};

struct GenerateEdgeOptions {
  std::string target;
  std::string edge;
  std::int64_t edge_width = 3;

  static auto fields() {
    using O = GenerateEdgeOptions;
    using config::field;
    return std::tuple{
        field("target", &O::target, "label whose classes' edges are drawn; \"\": the first one"),
        field("edge", &O::edge, "label of two classes that receives them: 0 inside, 1 edge")
            .required(),
        field("edge_width", &O::edge_width, "width of an edge in pixels").at_least(1)};
  }
};

/// 1 where two classes meet, 0 elsewhere; next to ignored pixels there is no edge (mmseg's rule).
class GenerateEdge final : public Transform {
 public:
  GenerateEdge(GenerateEdgeOptions options, const Context& context)
      : width_(static_cast<int>(options.edge_width)) {
    labels_ = context.labels;
    target_ = labels_.get(options.target).name;
    edge_ = labels_.find(options.edge);
    if (edge_ == nullptr) throw OptionError("edge", "no such label is declared");
    if (edge_->num_classes() != 2) {
      throw OptionError("edge", "label \"" + edge_->name + "\" has " +
                                    std::to_string(edge_->num_classes()) +
                                    " classes, an edge map has 2");
    }
    if (edge_->name == target_) throw OptionError("edge", "is the target itself");
  }

  void apply(Sample& sample, Philox&) const override {
    const auto found = sample.targets.find(target_);
    if (found == sample.targets.end()) return;  // prediction
    const at::Tensor map = found->second.map;
    const auto ignore = static_cast<std::uint8_t>(found->second.spec->ignore_index);
    const int height = static_cast<int>(map.size(0)), width = static_cast<int>(map.size(1));
    cv::Mat meeting = cv::Mat::zeros(height, width, CV_8U);
    // Whether (y, x) differs from a neighbour: the ones above, right, below right, below left
    // count.
    auto mark = [&](int y, int x, int other_y, int other_x) {
      const auto* rows = map.const_data_ptr<std::uint8_t>();
      const std::uint8_t a = rows[y * map.stride(0) + x],
                         b = rows[other_y * map.stride(0) + other_x];
      return a != b && a != ignore && b != ignore;
    };
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        if (y > 0 && mark(y, x, y - 1, x)) meeting.at<std::uint8_t>(y, x) = 1;
        if (x + 1 < width && mark(y, x, y, x + 1)) meeting.at<std::uint8_t>(y, x) = 1;
        if (y + 1 < height && x + 1 < width && mark(y, x, y + 1, x + 1)) {
          meeting.at<std::uint8_t>(y, x) = 1;
        }
        if (y + 1 < height && x > 0 && mark(y, x, y + 1, x - 1)) {
          meeting.at<std::uint8_t>(y, x) = 1;
        }
      }
    }
    at::Tensor edge = like(map);
    cv::Mat out = mat_of(edge);
    cv::dilate(meeting, out, cv::getStructuringElement(cv::MORPH_RECT, {width_, width_}));
    sample.targets[edge_->name] = {edge, edge_};
  }

 private:
  LabelSpecs labels_;
  std::string target_;
  const LabelSpec* edge_ = nullptr;
  int width_;
};

struct SegRescaleOptions {
  double scale_factor = 1;

  static auto fields() {
    return std::tuple{config::field("scale_factor", &SegRescaleOptions::scale_factor,
                                    "size of the label maps of a batch as a share of the images'")
                          .above(0)
                          .at_most(1)};
  }
};

/// For heads that are trained below the size of the images. Until the batch is made maps keep their
/// size, so that its place among the transforms does not matter.
class SegRescale final : public Transform {
 public:
  SegRescale(SegRescaleOptions options, const Context&) : options_(options) {}

  bool takes_unsettled() const override { return true; }
  void apply(Sample& sample, Philox&) const override {
    sample.label_scale = options_.scale_factor;
  }

 private:
  SegRescaleOptions options_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_targets) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, ExchangeTime, ExchangeTimeOptions>(
      "ExchangeTime", "takes the dates in reverse order at random", {"MultiImgExchangeTime"});
  registry.add<Transform, SegRescale, SegRescaleOptions>(
      "SegRescale", "makes the label maps of a batch smaller than its images");
  registry.add<Transform, GenerateEdge, GenerateEdgeOptions>(
      "GenerateEdge", "draws the edges of a label map as a further target");
}
