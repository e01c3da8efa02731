// Metrics by registered name, on maps written by hand.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/metrics/metric.hpp"
#include "tests/support/build.hpp"

namespace strata::tests {

/// One character a pixel: a digit is a class, '.' is ignored (255).
inline at::Tensor map_of(const std::vector<std::string>& rows) {
  const auto height = static_cast<std::int64_t>(rows.size());
  const auto width = static_cast<std::int64_t>(rows.at(0).size());
  at::Tensor map = at::empty({1, height, width}, at::kLong);
  auto* values = map.mutable_data_ptr<std::int64_t>();
  for (const std::string& row : rows) {
    for (const char c : row) *values++ = c == '.' ? 255 : c - '0';
  }
  return map;
}

inline LabelSpec label_of(std::int64_t classes, const std::string& role = "semantic",
                          std::int64_t date = 0) {
  LabelSpec spec;
  for (std::int64_t c = 0; c < classes; ++c) spec.classes.push_back(std::to_string(c));
  spec.role = role;
  spec.date = date;
  return spec;
}

struct Maps {
  at::Tensor predicted, truth;  // [1, H, W]
};

/// Adds one sample with these maps by label name.
inline void update(Metric& metric, const LabelSpecs& labels,
                   const std::map<std::string, Maps>& maps) {
  Batch batch;
  Outputs outputs;
  for (const auto& [name, one] : maps) {
    outputs.emplace_back(
        name, Output{.data = one.predicted, .kind = Output::Kind::label, .target = name});
    batch.targets[name] = {one.truth, labels.get(name)};
    if (!batch.images.empty()) continue;
    batch.images = {at::zeros({1, 3, one.truth.size(1), one.truth.size(2)}, at::kByte)};
    batch.meta.resize(1);
    batch.meta[0].height = one.truth.size(1);
    batch.meta[0].width = one.truth.size(2);
  }
  metric.update(outputs, batch);
}

inline double score_of(const Scores& scores, const std::string& name) {
  for (const auto& [key, value] : scores) {
    if (key == name) return value;
  }
  ADD_FAILURE() << "no score named " << name;
  return std::nan("");
}

}  // namespace strata::tests
