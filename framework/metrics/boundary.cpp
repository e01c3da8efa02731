// How well contours are met: boundary IoU and boundary F1, per class.
//
// Boundary IoU: Cheng, Girshick, Dollár, Berg, Kirillov, "Boundary IoU: improving object-centric
// image segmentation evaluation", CVPR 2021. Of each class only the pixels within `tolerance` of
// its contour are compared; the edge of the image is a contour.
// Boundary F1: Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic
// segmentation?", BMVC 2013: shares of contour pixels that have one of the other map's within
// `tolerance`. The edge of the image is no contour.
//
// Counts are summed over the data set (both papers average over images, which weighs an object in
// a small image more). What an ignored pixel hides is not known: it makes no contour.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

#include "framework/io/image.hpp"
#include "framework/metrics/metric.hpp"

namespace strata {
namespace {

/// Pixels of a class, and those with the ignored ones beside them.
struct ClassMask {
  cv::Mat own, extended;  // 8 bits, 0 or 255
};

ClassMask mask_of(const at::Tensor& map, const at::Tensor& truth, std::int64_t c,
                  std::int64_t ignore_index) {
  const int height = static_cast<int>(map.size(0)), width = static_cast<int>(map.size(1));
  ClassMask mask{cv::Mat(height, width, CV_8U), cv::Mat(height, width, CV_8U)};
  const auto* value = map.const_data_ptr<std::int64_t>();
  const auto* label = truth.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < map.numel(); ++i) {
    const bool ignored = label[i] == ignore_index;
    mask.own.data[i] = !ignored && value[i] == c ? 255 : 0;
    mask.extended.data[i] = ignored || value[i] == c ? 255 : 0;
  }
  return mask;
}

/// Pixels of the class at most `distance` (in both directions, a square) from one outside of it.
cv::Mat rim(const ClassMask& mask, std::int64_t distance) {
  cv::Mat padded, far;
  cv::copyMakeBorder(mask.extended, padded, 1, 1, 1, 1, cv::BORDER_CONSTANT, 0);
  cv::distanceTransform(padded, far, cv::DIST_C, cv::DIST_MASK_3);
  const cv::Mat inside = far(cv::Rect(1, 1, mask.own.cols, mask.own.rows));
  return (inside <= static_cast<double>(distance)) & mask.own;
}

/// Pixels of the class that touch, also at a corner, one of another class.
cv::Mat contour(const ClassMask& mask) {
  cv::Mat eroded;
  // OpenCV's own border value is neutral: the edge of the image erodes nothing.
  cv::erode(mask.extended, eroded, cv::getStructuringElement(cv::MORPH_RECT, {3, 3}));
  return mask.own & ~eroded;
}

/// Pixels of `contour` at most `distance` (Euclidean) from one of `other`.
std::int64_t near_pixels(const cv::Mat& contour, const cv::Mat& other, std::int64_t distance) {
  if (cv::countNonZero(other) == 0) return 0;
  cv::Mat far;
  cv::distanceTransform(~other, far, cv::DIST_L2, cv::DIST_MASK_PRECISE);
  return cv::countNonZero((far <= static_cast<double>(distance)) & contour);
}

}  // namespace

struct BoundaryOptions {
  std::string target;
  std::string prefix;
  std::vector<std::string> mean_over;
  std::optional<std::int64_t> tolerance;
  double ratio = 0.0;  // of the diagonal

  static auto fields() {
    using config::field;
    using O = BoundaryOptions;
    return std::tuple{
        field("target", &O::target, "label that is scored; default: the first one"),
        field("prefix", &O::prefix, "put before every name; default: none"),
        field("mean_over", &O::mean_over, "the classes that means are taken over; default: all")
            .one_or_many(),
        field("tolerance", &O::tolerance, "distance in pixels; left out: by `ratio`").at_least(1),
        field("ratio", &O::ratio,
              "distance as a share of the image's diagonal, rounded, at least one pixel")
            .above(0)
            .at_most(1)};
  }
};

struct BoundaryIoUOptions : BoundaryOptions {
  BoundaryIoUOptions() { ratio = 0.02; }
};
struct BoundaryF1Options : BoundaryOptions {
  BoundaryF1Options() { ratio = 0.0075; }
};

/// What the two have in common: the walk over samples and classes.
class BoundaryMetric : public Metric {
 public:
  BoundaryMetric(const BoundaryOptions& options, const Context& context)
      : options_(options),
        label_(context.labels.get(options.target)),
        mean_over_(classes_to_mean(options.mean_over, label_)) {
    io::quiet_opencv();
  }

  void update(const Outputs& outputs, const Batch& batch) override {
    const at::Tensor predicted = predicted_labels(outputs, label_.name);
    const at::Tensor truth = true_labels(batch, label_.name);
    for (std::int64_t n = 0; n < batch.size(); ++n) {
      const at::Tensor p = valid_area(predicted, batch, n), t = valid_area(truth, batch, n);
      const double diagonal =
          std::hypot(static_cast<double>(t.size(0)), static_cast<double>(t.size(1)));
      const std::int64_t distance = options_.tolerance.value_or(
          std::max<std::int64_t>(std::llround(options_.ratio * diagonal), 1));
      for (std::int64_t c = 0; c < label_.num_classes(); ++c) {
        const ClassMask mask_p = mask_of(p, t, c, label_.ignore_index);
        const ClassMask mask_t = mask_of(t, t, c, label_.ignore_index);
        if (cv::countNonZero(mask_p.own) + cv::countNonZero(mask_t.own) == 0) continue;
        add(c, mask_p, mask_t, distance);
      }
    }
  }

 protected:
  virtual void add(std::int64_t c, const ClassMask& predicted, const ClassMask& truth,
                   std::int64_t distance) = 0;

  template <class Function>
  double mean(const Function& function) const {
    std::vector<double> values;
    for (const std::int64_t c : mean_over_) values.push_back(function(c));
    return mean_of_defined(values);
  }
  template <class Function>
  void score(Scores& scores, const std::string& name, const Function& function) const {
    for (std::int64_t c = 0; c < label_.num_classes(); ++c) {
      scores.emplace_back(options_.prefix + name + "." + label_.classes[c], function(c));
    }
    scores.emplace_back(options_.prefix + "m" + name, mean(function));
  }

  BoundaryOptions options_;
  LabelSpec label_;
  std::vector<std::int64_t> mean_over_;
};

/// Names: boundary_iou.C of each class C, mboundary_iou.
class BoundaryIoU final : public BoundaryMetric {
 public:
  BoundaryIoU(const BoundaryIoUOptions& options, const Context& context)
      : BoundaryMetric(options, context),
        common_(label_.classes.size()),
        united_(label_.classes.size()) {}

  void reset() override {
    std::fill(common_.begin(), common_.end(), 0);
    std::fill(united_.begin(), united_.end(), 0);
  }
  Scores scores() const override {
    Scores scores;
    score(scores, "boundary_iou", [&](std::int64_t c) { return iou(c); });
    return scores;
  }
  ScoreTable table() const override {
    ScoreTable table;
    table.columns = {"boundary IoU"};
    for (std::int64_t c = 0; c < label_.num_classes(); ++c) {
      table.rows.push_back({label_.classes[c], {iou(c)}});
    }
    table.rows.push_back({"mean", {mean([&](std::int64_t c) { return iou(c); })}});
    return table;
  }

 private:
  void add(std::int64_t c, const ClassMask& predicted, const ClassMask& truth,
           std::int64_t distance) override {
    const cv::Mat p = rim(predicted, distance), t = rim(truth, distance);
    common_[c] += cv::countNonZero(p & t);
    united_[c] += cv::countNonZero(p | t);
  }
  double iou(std::int64_t c) const { return ratio(common_[c], united_[c]); }

  std::vector<std::int64_t> common_, united_;  // a class
};

/// Names: boundary_f1.C, boundary_precision.C, boundary_recall.C of each class C, and their means
/// mboundary_f1, mboundary_precision, mboundary_recall.
class BoundaryF1 final : public BoundaryMetric {
 public:
  BoundaryF1(const BoundaryF1Options& options, const Context& context)
      : BoundaryMetric(options, context), counts_(label_.classes.size()) {}

  void reset() override { std::fill(counts_.begin(), counts_.end(), Counts{}); }

  Scores scores() const override {
    Scores scores;
    score(scores, "boundary_f1", [&](std::int64_t c) { return counts_[c].f1(); });
    score(scores, "boundary_precision", [&](std::int64_t c) { return counts_[c].precision(); });
    score(scores, "boundary_recall", [&](std::int64_t c) { return counts_[c].recall(); });
    return scores;
  }
  ScoreTable table() const override {
    ScoreTable table;
    table.columns = {"boundary F1", "precision", "recall"};
    for (std::int64_t c = 0; c < label_.num_classes(); ++c) {
      const Counts& n = counts_[c];
      table.rows.push_back({label_.classes[c], {n.f1(), n.precision(), n.recall()}});
    }
    table.rows.push_back({"mean",
                          {mean([&](std::int64_t c) { return counts_[c].f1(); }),
                           mean([&](std::int64_t c) { return counts_[c].precision(); }),
                           mean([&](std::int64_t c) { return counts_[c].recall(); })}});
    return table;
  }

 private:
  struct Counts {
    std::int64_t predicted = 0, predicted_near = 0;  // contour pixels
    std::int64_t truth = 0, truth_near = 0;
    double precision() const { return ratio(predicted_near, predicted); }
    double recall() const { return ratio(truth_near, truth); }
    /// 0 when only one of the maps has a contour, NaN when none has.
    double f1() const {
      if (predicted_near + truth_near == 0) return ratio(0, predicted + truth);
      return 2 * precision() * recall() / (precision() + recall());
    }
  };

  void add(std::int64_t c, const ClassMask& predicted, const ClassMask& truth,
           std::int64_t distance) override {
    const cv::Mat p = contour(predicted), t = contour(truth);
    counts_[c].predicted += cv::countNonZero(p);
    counts_[c].truth += cv::countNonZero(t);
    counts_[c].predicted_near += near_pixels(p, t, distance);
    counts_[c].truth_near += near_pixels(t, p, distance);
  }

  std::vector<Counts> counts_;  // a class
};

}  // namespace strata

STRATA_COMPONENTS(framework_metrics_boundary) {
  using namespace strata;
  registry.add<Metric, BoundaryIoU, BoundaryIoUOptions>(
      "BoundaryIoU", "IoU of the pixels near contours (Cheng et al., CVPR 2021)");
  registry.add<Metric, BoundaryF1, BoundaryF1Options>(
      "BoundaryF1", "precision, recall and F1 of contours (Csurka et al., BMVC 2013)");
}
