#include "framework/metrics/metric.hpp"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/base/error.hpp"

namespace strata {

Metric::~Metric() = default;

bool more_is_better(const std::string& score, const std::string& rule) {
  if (rule != "auto") return rule == "max";
  return score.find("loss") == std::string::npos && score.find("error") == std::string::npos;
}

std::vector<bool> summaries(const Scores& scores) {
  const auto dots = [](const auto& score) {
    return std::count(score.first.begin(), score.first.end(), '.');
  };
  std::vector<bool> yes;
  if (scores.empty()) return yes;
  const auto fewest =
      dots(*std::min_element(scores.begin(), scores.end(),
                             [&](const auto& a, const auto& b) { return dots(a) < dots(b); }));
  for (const auto& score : scores) yes.push_back(dots(score) == fewest);
  return yes;
}

std::string summary_score(const Scores& scores) {
  const std::vector<bool> yes = summaries(scores);
  const auto first = std::find(yes.begin(), yes.end(), true);
  return first == yes.end() ? "" : scores[static_cast<std::size_t>(first - yes.begin())].first;
}

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? std::numeric_limits<double>::quiet_NaN()
                          : static_cast<double>(numerator) / static_cast<double>(denominator);
}

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

std::string text_of(const ScoreTable& table) {
  if (table.rows.empty() && table.overall.empty()) return "";
  std::size_t width = 5;
  for (const auto& [name, values] : table.rows) width = std::max(width, name.size());
  for (const auto& [name, value] : table.overall) width = std::max(width, name.size());
  std::string text;
  if (!table.rows.empty()) {
    text += fmt::format("{:<{}}", "class", width + 1);
    for (const std::string& column : table.columns) {
      text += fmt::format(" {:>{}}", column, std::max<std::size_t>(column.size(), 7));
    }
    text += '\n';
  }
  for (const auto& [name, values] : table.rows) {
    text += fmt::format("{:<{}}", name, width + 1);
    for (std::size_t i = 0; i < values.size(); ++i) {
      text += fmt::format(" {:>{}.4f}", values[i],
                          std::max<std::size_t>(table.columns.at(i).size(), 7));
    }
    text += '\n';
  }
  for (const auto& [name, value] : table.overall) {
    text += fmt::format("{:<{}} {:>7.4f}\n", name, width + 1, value);
  }
  text.pop_back();
  return text;
}

std::vector<std::int64_t> classes_to_mean(const std::vector<std::string>& names,
                                          const LabelSpec& label) {
  std::vector<std::int64_t> classes;
  if (names.empty()) {
    for (std::int64_t c = 0; c < label.num_classes(); ++c) classes.push_back(c);
  }
  for (const std::string& name : names) {
    const auto place = std::find(label.classes.begin(), label.classes.end(), name);
    if (place == label.classes.end()) {
      throw OptionError("mean_over", "\"" + label.name + "\" has no such class, got \"" + name +
                                         "\"" + did_you_mean(name, label.classes));
    }
    classes.push_back(place - label.classes.begin());
  }
  return classes;
}

at::Tensor predicted_labels(const Outputs& outputs, const std::string& label) {
  const Output* output = find_output(outputs, label);
  if (output == nullptr) {
    std::string known;
    for (const auto& [name, one] : outputs) {
      if (!one.target.empty()) known += (known.empty() ? "" : ", ") + one.target;
    }
    throw UserError("evaluate.metrics: the model does not predict the label \"" + label +
                    "\"; it predicts: " + (known.empty() ? "no label" : known));
  }
  return labels(*output).to(at::kCPU);
}

at::Tensor true_labels(const Batch& batch, const std::string& label) {
  const auto target = batch.targets.find(label);
  if (target == batch.targets.end()) {
    throw UserError("evaluate.metrics: the data set has no label \"" + label +
                    "\", which a metric scores");
  }
  return target->second.data.to(at::kCPU);
}

at::Tensor valid_area(const at::Tensor& maps, const Batch& batch, std::int64_t n) {
  const SampleMeta& meta = batch.meta.at(n);
  return maps.select(0, n).narrow(0, 0, meta.height).narrow(1, 0, meta.width).contiguous();
}

}  // namespace strata
