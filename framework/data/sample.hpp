// One sample on its way from files to a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
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
  bool preprocessed = false;  // normalised already: see Batch

  /// A size that images and targets are to be brought to and are not yet: a crop that comes next
  /// needs a part of them only. See settle().
  struct Resizing {
    std::int64_t height, width;
    std::string interpolation;
  };
  std::optional<Resizing> resizing;

  std::int64_t height() const { return resizing ? resizing->height : images.front().size(0); }
  std::int64_t width() const { return resizing ? resizing->width : images.front().size(1); }
};

}  // namespace strata
