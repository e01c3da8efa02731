// Semantic change detection: SeK, Fscd, Score, mIoU, OA, kappa.
//
// SeK and Score: Yang et al., "Asymmetric siamese networks for semantic change detection in aerial
// images", IEEE TGRS 2021 (the SECOND data set). Fscd and OA: Ding et al., "Bi-temporal semantic
// reasoning for the semantic change detection in HR remote sensing images" (Bi-SRNet), IEEE TGRS
// 2022. One confusion matrix over states is summed over both dates and the whole set; state 0 is
// "unchanged", the others are the classes.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.hpp"
#include "framework/metrics/confusion.hpp"
#include "framework/model/semantic_change.hpp"

namespace strata {

struct SCDMetricOptions {
  std::vector<std::string> targets;
  std::string change;
  std::string unchanged;
  std::string prefix;
  std::string accuracy = "pixels";
  bool from_to = false;
  bool post_classification = false;

  static auto fields() {
    using config::field;
    using O = SCDMetricOptions;
    return std::tuple{
        field(
            "targets", &O::targets,
            "the semantic labels of both dates; default: the first of date 0, the first of date 1"),
        field("change", &O::change,
              "the label that says where anything changed; default: the first of role \"change\", "
              "unless `unchanged` is given"),
        field("unchanged", &O::unchanged, "the class of the semantic labels that means no change"),
        field("prefix", &O::prefix, "put before every name; default: none"),
        field("accuracy", &O::accuracy,
              "scd_oa: share of all pixels, or mean over images of each one's share (Bi-SRNet)")
            .one_of({"pixels", "images"}),
        field("from_to", &O::from_to,
              "also sek_fromto and its like, from a matrix of all pairs of classes (torchange, "
              "ChangeMamba); not comparable with sek"),
        field("post_classification", &O::post_classification,
              "change is predicted where the predicted classes of both dates differ, whatever the "
              "model says of the change label: the baseline of comparing two class maps")};
  }
};

namespace {

/// The published formulas on a matrix of states. What has no pixel counts 0, as in published code.
struct ChangeScores {
  double iou_unchanged = 0, iou_changed = 0, miou = 0, kappa = 0, sek = 0, score = 0;
  double precision = 0, recall = 0, fscd = 0;

  explicit ChangeScores(const ConfusionMatrix& matrix) {
    std::int64_t inside = 0, agreed = 0;  // pixels changed in both maps, and of one class there
    double product = 0;
    for (std::int64_t i = 1; i < matrix.classes(); ++i) {
      agreed += matrix.hits(i);
      for (std::int64_t j = 1; j < matrix.classes(); ++j) inside += matrix.count(i, j);
    }
    const std::int64_t kept = matrix.hits(0);
    const std::int64_t misses = matrix.predicted(0) - kept, alarms = matrix.labelled(0) - kept;
    iou_unchanged = defined(kept, kept + misses + alarms);
    iou_changed = defined(inside, inside + misses + alarms);
    miou = (iou_unchanged + iou_changed) / 2;

    // Kappa without the pixels that both maps leave unchanged.
    const auto all = static_cast<double>(inside + misses + alarms);
    for (std::int64_t i = 0; i < matrix.classes(); ++i) {
      const std::int64_t both = i == 0 ? kept : 0;
      product += static_cast<double>(matrix.labelled(i) - both) *
                 static_cast<double>(matrix.predicted(i) - both);
    }
    if (all > 0) {
      const double by_chance = product / (all * all);
      if (by_chance < 1) kappa = (static_cast<double>(agreed) / all - by_chance) / (1 - by_chance);
    }
    sek = kappa * std::exp(iou_changed - 1);
    score = 0.3 * miou + 0.7 * sek;
    precision = defined(agreed, inside + alarms);
    recall = defined(agreed, inside + misses);
    fscd = agreed == 0 ? 0.0 : 2 * precision * recall / (precision + recall);
  }

 private:
  static double defined(std::int64_t numerator, std::int64_t denominator) {
    return denominator == 0 ? 0.0 : ratio(numerator, denominator);
  }
};

}  // namespace

/// Names: sek, fscd, score, scd_miou (of unchanged and changed), scd_oa, scd_kappa (SeK's),
/// fscd_precision, fscd_recall, scd_iou_unchanged, scd_iou_changed, scd_iou.C of each class C; with
/// from_to: sek_fromto, score_fromto, scd_kappa_fromto, fscd_fromto, scd_miou_fromto (the mean IoU
/// over the pairs of classes that occur in the labels).
class SCDMetric final : public Metric {
 public:
  SCDMetric(const SCDMetricOptions& options, const Context& context)
      : options_(options), dates_(semantic_labels(context.labels, options.targets)) {
    change_ = find_change(options, context.labels);
    if (options_.post_classification && !change_) {
      throw OptionError("post_classification", "needs a label of role \"change\" to compare with");
    }
    for (std::size_t c = 0; c < dates_[0].classes.size(); ++c) {
      const std::string& name = dates_[0].classes[c];
      const bool none = name == options_.unchanged;
      if (!none) names_.push_back(name);
      states_.push_back(none ? 0 : static_cast<std::int64_t>(names_.size()));
    }
    if (!options_.unchanged.empty() && names_.size() == states_.size()) {
      throw OptionError("unchanged", "\"" + dates_[0].name + "\" has no such class, got \"" +
                                         options_.unchanged + "\"" +
                                         did_you_mean(options_.unchanged, dates_[0].classes));
    }
    const auto classes = static_cast<std::int64_t>(names_.size());
    matrix_.emplace(classes + 1);
    if (options_.from_to) pairs_.emplace(classes * classes + 1);
  }

  void reset() override {
    matrix_->reset();
    if (pairs_) pairs_->reset();
    images_ = 0;
    image_accuracy_ = 0;
  }

  void update(const Outputs& outputs, const Batch& batch) override {
    at::Tensor truth[2], predicted[2], changed_truth, changed_predicted;
    for (int date = 0; date < 2; ++date) {
      truth[date] = true_labels(batch, dates_[date].name);
      predicted[date] = predicted_labels(outputs, dates_[date].name);
    }
    if (change_) {
      changed_truth = true_labels(batch, change_->name);
      changed_predicted = options_.post_classification ? predicted[0].ne(predicted[1]).to(at::kLong)
                                                       : predicted_labels(outputs, change_->name);
    }
    for (std::int64_t n = 0; n < batch.size(); ++n) {
      auto part = [&](const at::Tensor& maps) {
        return maps.defined() ? valid_area(maps, batch, n) : maps;
      };
      at::Tensor t[2], p[2];
      for (int date = 0; date < 2; ++date) {
        t[date] = states(part(truth[date]), part(changed_truth), dates_[date].ignore_index);
        p[date] = states(part(predicted[date]), part(changed_predicted), kNothing);
      }
      add(p, t);
    }
  }

  Scores scores() const override {
    Scores scores;
    auto add = [&](const std::string& name, double value) {
      scores.emplace_back(options_.prefix + name, value);
    };
    const ChangeScores s(*matrix_);
    add("sek", s.sek);
    add("fscd", s.fscd);
    add("score", s.score);
    add("scd_miou", s.miou);
    add("scd_oa", overall_accuracy());
    add("scd_kappa", s.kappa);
    add("fscd_precision", s.precision);
    add("fscd_recall", s.recall);
    add("scd_iou_unchanged", s.iou_unchanged);
    add("scd_iou_changed", s.iou_changed);
    for (std::size_t c = 0; c < names_.size(); ++c) {
      add("scd_iou." + names_[c], matrix_->iou(static_cast<std::int64_t>(c) + 1));
    }
    if (!pairs_) return scores;
    const ChangeScores f(*pairs_);
    std::vector<double> ious;
    for (std::int64_t i = 1; i < pairs_->classes(); ++i) {
      if (pairs_->labelled(i) > 0) ious.push_back(pairs_->iou(i));
    }
    add("sek_fromto", f.sek);
    add("score_fromto", f.score);
    add("scd_kappa_fromto", f.kappa);
    add("fscd_fromto", f.fscd);
    add("scd_miou_fromto", mean_of_defined(ious));
    return scores;
  }

  ScoreTable table() const override {
    ScoreTable table;
    table.columns = {"IoU", "precision", "recall"};
    for (std::size_t c = 0; c < names_.size(); ++c) {
      const auto state = static_cast<std::int64_t>(c) + 1;
      table.rows.push_back(
          {names_[c], {matrix_->iou(state), matrix_->precision(state), matrix_->recall(state)}});
    }
    const ChangeScores s(*matrix_);
    table.overall = {{"SeK", s.sek},
                     {"Fscd", s.fscd},
                     {"Score", s.score},
                     {"mIoU of change", s.miou},
                     {"kappa", s.kappa},
                     {"IoU changed", s.iou_changed},
                     {"OA", overall_accuracy()}};
    return table;
  }

  std::optional<ConfusionTable> confusion() const override {
    std::vector<std::string> classes = names_;
    classes.insert(classes.begin(), options_.unchanged.empty() ? "unchanged" : options_.unchanged);
    return ConfusionTable{std::move(classes), matrix_->counts()};
  }

 private:
  static constexpr std::int64_t kNothing = -1;  // state of a pixel that does not count

  static std::optional<LabelSpec> find_change(const SCDMetricOptions& options,
                                              const LabelSpecs& labels) {
    if (options.change.empty() && !options.unchanged.empty()) return std::nullopt;
    const auto found = change_label(labels, options.change);
    if (found) return found;
    throw OptionError("unchanged",
                      "is needed where no label has the role \"change\": the class "
                      "that means no change");
  }

  /// Class maps to maps of states: 0 where nothing changed, kNothing where nothing is known.
  at::Tensor states(const at::Tensor& classes, const at::Tensor& changed,
                    std::int64_t ignore_index) const {
    at::Tensor map = at::empty_like(classes);
    auto* state = map.mutable_data_ptr<std::int64_t>();
    const auto* value = classes.const_data_ptr<std::int64_t>();
    const auto* change = changed.defined() ? changed.const_data_ptr<std::int64_t>() : nullptr;
    for (std::int64_t i = 0; i < map.numel(); ++i) {
      if (change != nullptr && ignore_index != kNothing && change[i] == change_->ignore_index) {
        state[i] = kNothing;
      } else if (change != nullptr && change[i] == 0) {
        state[i] = 0;  // data sets label classes only where something changed
      } else if (value[i] == ignore_index) {
        state[i] = kNothing;
      } else {
        state[i] = states_.at(value[i]);
      }
    }
    return map;
  }

  void add(const at::Tensor (&predicted)[2], const at::Tensor (&truth)[2]) {
    ConfusionMatrix image(matrix_->classes());
    for (int date = 0; date < 2; ++date) {
      matrix_->add(predicted[date], truth[date], kNothing);
      if (options_.accuracy == "images") image.add(predicted[date], truth[date], kNothing);
    }
    if (const double accuracy = image.accuracy(); !std::isnan(accuracy)) {
      image_accuracy_ += accuracy;
      ++images_;
    }
    if (!pairs_) return;
    const auto classes = static_cast<std::int64_t>(names_.size());
    const auto pairs_of = [&](const at::Tensor(&maps)[2]) {
      // Unchanged is one state: where only one date says so, too.
      at::Tensor pair = (maps[0] - 1) * classes + maps[1];
      pair = pair.masked_fill((maps[0] == 0).logical_or(maps[1] == 0), 0);
      return pair.masked_fill((maps[0] == kNothing).logical_or(maps[1] == kNothing), kNothing);
    };
    pairs_->add(pairs_of(predicted), pairs_of(truth), kNothing);
  }

  double overall_accuracy() const {
    if (options_.accuracy == "pixels") return matrix_->accuracy();
    return images_ == 0 ? std::nan("") : image_accuracy_ / static_cast<double>(images_);
  }

  SCDMetricOptions options_;
  std::vector<LabelSpec> dates_;      // the semantic label of each of two dates
  std::optional<LabelSpec> change_;   // nullopt: one of their classes means no change
  std::vector<std::string> names_;    // of states 1, 2, …
  std::vector<std::int64_t> states_;  // of each class
  std::optional<ConfusionMatrix> matrix_, pairs_;
  std::int64_t images_ = 0;
  double image_accuracy_ = 0;
};

}  // namespace strata

STRATA_COMPONENTS(framework_metrics_scd) {
  registry.add<strata::Metric, strata::SCDMetric, strata::SCDMetricOptions>(
      "SCDMetric", "semantic change: SeK, Fscd, Score, mIoU, OA and kappa over both dates");
}
