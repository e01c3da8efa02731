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
namespace {

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? std::numeric_limits<double>::quiet_NaN()
                          : static_cast<double>(numerator) / static_cast<double>(denominator);
}

}  // namespace

double mean_of_defined(const std::vector<double>& values) {
  double sum = 0;
  std::int64_t n = 0;
  for (double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++n;
  }
  return n == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n);
}

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

std::int64_t ConfusionMatrix::row(std::int64_t c) const {
  std::int64_t sum = 0;
  for (std::int64_t j = 0; j < classes_; ++j) sum += count(c, j);
  return sum;
}

std::int64_t ConfusionMatrix::column(std::int64_t c) const {
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < classes_; ++i) sum += count(i, c);
  return sum;
}

double ConfusionMatrix::iou(std::int64_t c) const {
  return ratio(count(c, c), row(c) + column(c) - count(c, c));
}
double ConfusionMatrix::f1(std::int64_t c) const {
  return ratio(2 * count(c, c), row(c) + column(c));
}
double ConfusionMatrix::precision(std::int64_t c) const { return ratio(count(c, c), column(c)); }
double ConfusionMatrix::recall(std::int64_t c) const { return ratio(count(c, c), row(c)); }

double ConfusionMatrix::accuracy() const {
  std::int64_t correct = 0, all = 0;
  for (std::int64_t c = 0; c < classes_; ++c) {
    correct += count(c, c);
    all += row(c);
  }
  return ratio(correct, all);
}

struct IoUMetricOptions {
  std::string target;
  std::string prefix;
  static auto fields() {
    using config::field;
    return std::tuple{
        field("target", &IoUMetricOptions::target, "label that is scored; default: the first one"),
        field("prefix", &IoUMetricOptions::prefix,
              "put before every name (\"change.\"); default: none")};
  }
};

/// Names: iou.C, f1.C, precision.C, recall.C and acc.C (recall under mmseg's name) for each class
/// C; miou, mf1, mprecision, mrecall, macc as means over the classes that occur; aacc over pixels.
class IoUMetric final : public Metric {
 public:
  IoUMetric(const IoUMetricOptions& options, const Context& context)
      : prefix_(options.prefix),
        label_(context.labels.get(options.target)),
        matrix_(label_.num_classes()) {}

  void reset() override { matrix_.reset(); }

  void update(const Outputs& outputs, const Batch& batch) override {
    const Output* output = find_output(outputs, label_.name);
    auto target = batch.targets.find(label_.name);
    if (output == nullptr || target == batch.targets.end()) return;
    const at::Tensor predicted = labels(*output);
    for (std::int64_t n = 0; n < batch.size(); ++n) {
      const SampleMeta& meta = batch.meta[n];
      auto valid = [&](const at::Tensor& maps) {
        return maps.select(0, n).narrow(0, 0, meta.height).narrow(1, 0, meta.width);
      };
      matrix_.add(valid(predicted), valid(target->second.data), label_.ignore_index);
    }
  }

  Scores scores() const override {
    Scores scores;
    auto add = [&](const std::string& name, double value) {
      scores.emplace_back(prefix_ + name, value);
    };
    const auto kinds = {std::pair{"iou", &ConfusionMatrix::iou}, std::pair{"f1", &ConfusionMatrix::f1},
                        std::pair{"precision", &ConfusionMatrix::precision},
                        std::pair{"recall", &ConfusionMatrix::recall},
                        std::pair{"acc", &ConfusionMatrix::recall}};
    for (const auto& [name, function] : kinds) {
      std::vector<double> values;
      for (std::int64_t c = 0; c < matrix_.classes(); ++c) {
        values.push_back((matrix_.*function)(c));
        add(std::string(name) + "." + label_.classes[c], values.back());
      }
      add(std::string("m") + name, mean_of_defined(values));
    }
    add("aacc", matrix_.accuracy());
    return scores;
  }

  std::string table() const override {
    std::size_t width = 5;
    for (const std::string& name : label_.classes) width = std::max(width, name.size());
    std::string text = fmt::format("{:<{}}  {:>7} {:>7} {:>9} {:>7}\n", "class", width, "IoU", "F1",
                                   "precision", "recall");
    auto row = [&](const std::string& name, double iou, double f1, double precision, double recall) {
      text += fmt::format("{:<{}}  {:>7.4f} {:>7.4f} {:>9.4f} {:>7.4f}\n", name, width, iou, f1,
                          precision, recall);
    };
    std::vector<double> all[4];
    for (std::int64_t c = 0; c < matrix_.classes(); ++c) {
      const double v[4] = {matrix_.iou(c), matrix_.f1(c), matrix_.precision(c), matrix_.recall(c)};
      for (int k = 0; k < 4; ++k) all[k].push_back(v[k]);
      row(label_.classes[c], v[0], v[1], v[2], v[3]);
    }
    row("mean", mean_of_defined(all[0]), mean_of_defined(all[1]), mean_of_defined(all[2]),
        mean_of_defined(all[3]));
    return text + fmt::format("accuracy over all pixels {:.4f}", matrix_.accuracy());
  }

 private:
  std::string prefix_;
  LabelSpec label_;
  ConfusionMatrix matrix_;
};

}  // namespace strata

STRATA_COMPONENTS(framework_metrics_confusion) {
  registry.add<strata::Metric, strata::IoUMetric, strata::IoUMetricOptions>(
      "IoUMetric", "IoU, F1, precision, recall and accuracy, per class and mean");
}
