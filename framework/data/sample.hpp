// One sample on its way from files to a batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/data/pixels.hpp"
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

  struct Resizing {
    std::int64_t height, width;
    std::string interpolation;
  };
  /// What is decided but not yet done to the tensors above, in this order: a crop that comes next
  /// needs a part of the files and of the resized pictures only, and the batch's memory is written
  /// once. See settle().
  struct PutOff {
    std::vector<io::LazyImage> files;  // of the images, one a date; targets are read already
    std::optional<Resizing> resizing;
    std::shared_ptr<const data::Normalizing> normalizing;
  };
  PutOff put_off;
  double label_scale = 1;  // of the label maps' sides in a batch: SegRescale

  std::int64_t height() const {
    if (put_off.resizing) return put_off.resizing->height;
    return put_off.files.empty() ? images.front().size(0) : put_off.files.front().height();
  }
  std::int64_t width() const {
    if (put_off.resizing) return put_off.resizing->width;
    return put_off.files.empty() ? images.front().size(1) : put_off.files.front().width();
  }
};

}  // namespace strata
