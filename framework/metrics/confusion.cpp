// Scores from a confusion matrix: IoU, F1, precision, recall per class, their means, accuracy.
#include "framework/metrics/confusion.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "registry/component.hpp"

namespace strata {

ConfusionMatrix::ConfusionMatrix(std::int64_t classes)
    : classes_(classes), counts_(static_cast<std::size_t>(classes * classes)) {}

void ConfusionMatrix::reset() { std::fill(counts_.begin(), counts_.end(), 0); }

void ConfusionMatrix::add(const at::Tensor& prediction, const at::Tensor& label,
                          std::int64_t ignore_index) {
  const at::Tensor p = prediction.contiguous(), l = label.contiguous();
  if (p.sizes() != l.sizes() || p.scalar_type() != at::kLong || l.scalar_type() != at::kLong) {
    throw std::logic_error("ConfusionMatrix::add: maps of different shapes or types");
  }
  const auto* predicted = p.const_data_ptr<std::int64_t>();
  const auto* truth = l.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < p.numel(); ++i) {
    if (truth[i] == ignore_index) continue;
    if (truth[i] < 0 || truth[i] >= classes_ || predicted[i] < 0 || predicted[i] >= classes_) {
      throw std::logic_error(fmt::format("label {} or prediction {} is outside of {} classes",
                                         truth[i], predicted[i], classes_));
    }
    ++counts_[truth[i] * classes_ + predicted[i]];
  }
}

std::int64_t ConfusionMatrix::labelled(std::int64_t c) const {
  std::int64_t sum = 0;
  for (std::int64_t j = 0; j < classes_; ++j) sum += count(c, j);
  return sum;
}

std::int64_t ConfusionMatrix::predicted(std::int64_t c) const {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < classes_; ++i) sum += count(i, c);
  return sum;
}

std::int64_t ConfusionMatrix::total() const {
  std::int64_t sum = 0;
  for (const std::int64_t n : counts_) sum += n;
  return sum;
}

double ConfusionMatrix::iou(std::int64_t c) const {
  return ratio(hits(c), labelled(c) + predicted(c) - hits(c));
}
double ConfusionMatrix::f1(std::int64_t c) const {
  return ratio(2 * hits(c), labelled(c) + predicted(c));
}
double ConfusionMatrix::precision(std::int64_t c) const { return ratio(hits(c), predicted(c)); }
double ConfusionMatrix::recall(std::int64_t c) const { return ratio(hits(c), labelled(c)); }

double ConfusionMatrix::accuracy() const {
  std::int64_t correct = 0;
  for (std::int64_t c = 0; c < classes_; ++c) correct += hits(c);
  return ratio(correct, total());
}

double ConfusionMatrix::frequency_weighted_iou() const {
  const std::int64_t all = total();
  if (all == 0) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (std::int64_t c = 0; c < classes_; ++c) {
    if (labelled(c) > 0) sum += static_cast<double>(labelled(c)) * iou(c);
  }
  return sum / static_cast<double>(all);
}

double ConfusionMatrix::kappa() const {
  // Products of pixel counts leave the range of 64 bits on a large data set.
  const auto all = static_cast<double>(total());
  double by_chance = 0;
  for (std::int64_t c = 0; c < classes_; ++c) {
    by_chance += static_cast<double>(labelled(c)) / all * (static_cast<double>(predicted(c)) / all);
  }
  if (!(by_chance < 1)) return std::numeric_limits<double>::quiet_NaN();
  return (accuracy() - by_chance) / (1 - by_chance);
}

struct IoUMetricOptions {
  std::string target;
  std::string prefix;
  std::vector<std::string> mean_over;
  static auto fields() {
    using config::field;
    return std::tuple{
        field("target", &IoUMetricOptions::target, "label that is scored; default: the first one"),
        field("prefix", &IoUMetricOptions::prefix,
              "put before every name (\"change.\"); default: none"),
        field("mean_over", &IoUMetricOptions::mean_over,
              "the classes that means and micro scores are taken over; default: all")
            .one_or_many()};
  }
};

/// Names: iou.C, f1.C (Dice), precision.C, recall.C and acc.C (recall under mmseg's name) for each
/// class C; miou, mf1, mprecision, mrecall, macc as (macro) means over the classes that occur;
/// micro_iou, micro_f1, micro_precision, micro_recall from the summed counts of the classes; aacc,
/// fwiou, kappa over pixels of all classes.
class IoUMetric final : public Metric {
 public:
  IoUMetric(const IoUMetricOptions& options, const Context& context)
      : prefix_(options.prefix),
        label_(context.labels.get(options.target)),
        classes_(classes_to_mean(options.mean_over, label_)),
        matrix_(label_.num_classes()) {}

  void reset() override { matrix_.reset(); }

  void update(const Outputs& outputs, const Batch& batch) override {
    const at::Tensor predicted = predicted_labels(outputs, label_.name);
    const at::Tensor truth = true_labels(batch, label_.name);
    for (std::int64_t n = 0; n < batch.size(); ++n) {
      matrix_.add(valid_area(predicted, batch, n), valid_area(truth, batch, n),
                  label_.ignore_index);
    }
  }

  Scores scores() const override {
    Scores scores;
    auto add = [&](const std::string& name, double value) {
      scores.emplace_back(prefix_ + name, value);
    };
    const auto kinds = {
        std::pair{"iou", &ConfusionMatrix::iou}, std::pair{"f1", &ConfusionMatrix::f1},
        std::pair{"precision", &ConfusionMatrix::precision},
        std::pair{"recall", &ConfusionMatrix::recall}, std::pair{"acc", &ConfusionMatrix::recall}};
    for (const auto& [name, function] : kinds) {
      for (std::int64_t c = 0; c < matrix_.classes(); ++c) {
        add(std::string(name) + "." + label_.classes[c], (matrix_.*function)(c));
      }
      add(std::string("m") + name, mean(function));
    }
    std::int64_t hits = 0, labelled = 0, predicted = 0;
    for (const std::int64_t c : classes_) {
      hits += matrix_.hits(c);
      labelled += matrix_.labelled(c);
      predicted += matrix_.predicted(c);
    }
    add("micro_iou", ratio(hits, labelled + predicted - hits));
    add("micro_f1", ratio(2 * hits, labelled + predicted));
    add("micro_precision", ratio(hits, predicted));
    add("micro_recall", ratio(hits, labelled));
    add("aacc", matrix_.accuracy());
    add("fwiou", matrix_.frequency_weighted_iou());
    add("kappa", matrix_.kappa());
    return scores;
  }

  ScoreTable table() const override {
    const auto columns = {&ConfusionMatrix::iou, &ConfusionMatrix::f1, &ConfusionMatrix::precision,
                          &ConfusionMatrix::recall};
    ScoreTable table;
    table.columns = {"IoU", "F1", "precision", "recall"};
    for (std::int64_t c = 0; c < matrix_.classes(); ++c) {
      std::vector<double> values;
      for (const auto function : columns) values.push_back((matrix_.*function)(c));
      table.rows.emplace_back(label_.classes[c], std::move(values));
    }
    std::vector<double> means;
    for (const auto function : columns) means.push_back(mean(function));
    table.rows.emplace_back("mean", std::move(means));
    table.overall = {{"accuracy", matrix_.accuracy()},
                     {"FWIoU", matrix_.frequency_weighted_iou()},
                     {"kappa", matrix_.kappa()}};
    return table;
  }

  std::optional<ConfusionTable> confusion() const override {
    return ConfusionTable{label_.classes, matrix_.counts()};
  }

 private:
  double mean(double (ConfusionMatrix::*function)(std::int64_t) const) const {
    std::vector<double> values;
    for (const std::int64_t c : classes_) values.push_back((matrix_.*function)(c));
    return mean_of_defined(values);
  }

  std::string prefix_;
  LabelSpec label_;
  std::vector<std::int64_t> classes_;
  ConfusionMatrix matrix_;
};

}  // namespace strata

STRATA_COMPONENTS(framework_metrics_confusion) {
  registry.add<strata::Metric, strata::IoUMetric, strata::IoUMetricOptions>(
      "IoUMetric", "IoU, F1 (Dice), precision, recall and accuracy, per class, mean and overall");
}
