// One sample on its way from files to a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "framework/model/batch.hpp"
#include "framework/model/spec.hpp"

namespace strata {

/// A label map of a sample: [H, W] uint8; its spec says role, date and ignore_index, by which
/// transforms act (fill of padding, exchange of dates).
struct SampleTarget {
  at::Tensor map;
  const LabelSpec* spec = nullptr;  // owned by the dataset's context
};

/// Images are [H, W, C] uint8 (RGB) or float, contiguous, one a date and all of one size.
struct Sample {
  std::vector<at::Tensor> images;
  std::map<std::string, SampleTarget> targets;
  SampleMeta meta;

  std::int64_t height() const { return images.front().size(0); }
  std::int64_t width() const { return images.front().size(1); }
};

}  // namespace strata
