// Models whose results can be computed by hand.
#pragma once

#include <ATen/ATen.h>

#include <functional>

#include "framework/model/model.hpp"

namespace strata::tests {

/// Predicts what a function of the images says, and counts calls and samples.
struct StubModel final : Model {
  explicit StubModel(std::function<Outputs(const std::vector<at::Tensor>&)> f)
      : function(std::move(f)) {}
  Losses loss(const Batch&, TrainContext&) override { return {}; }
  Outputs predict(const Batch& batch) override {
    ++calls;
    largest = std::max(largest, batch.size());
    std::vector<at::Tensor> images;
    for (const at::Tensor& each : batch.images) images.push_back(each.to(at::kFloat));
    return function(images);
  }
  std::function<Outputs(const std::vector<at::Tensor>&)> function;
  std::int64_t calls = 0, largest = 0;
};

inline Output output_of(at::Tensor data, Output::Kind kind, std::string target = "") {
  Output output;
  output.data = std::move(data);
  output.kind = kind;
  output.target = std::move(target);
  return output;
}

/// A batch of `images` ([N, C, H, W], one a date) that fill it.
inline Batch batch_of(std::vector<at::Tensor> images) {
  Batch batch;
  batch.images = std::move(images);
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    SampleMeta meta;
    meta.name = std::to_string(n);
    meta.paths.assign(batch.images.size(), "file");
    meta.height = meta.original_height = batch.height();
    meta.width = meta.original_width = batch.width();
    batch.meta.push_back(meta);
  }
  return batch;
}

inline at::Tensor ramp(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
  return at::arange(n * c * h * w, at::kFloat).reshape({n, c, h, w});
}

}  // namespace strata::tests
