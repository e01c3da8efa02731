// Pictures of label maps and predictions. All are [H, W, 3] uint8 RGB.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/spec.hpp"

namespace strata::inference {

/// The values that become black and white.
struct Stretch {
  double low = 0, high = 255;
};
/// Of pixels [H, W, C]: so that two of a hundred are cut at each end; of bytes all of them.
STRATA_API Stretch stretch_of(const at::Tensor& image);

/// Pixels [H, W, C] of any kind as something to look at: the first three channels, or the first as
/// grey; values that are no bytes stretched, by default as stretch_of() says.
STRATA_API at::Tensor displayable(const at::Tensor& image,
                                  const std::optional<Stretch>& stretch = std::nullopt);

/// The date whose image a map of `label` is laid over: its own, for a change the last one.
STRATA_API std::size_t date_under(const LabelSpec& label, std::size_t dates);

/// Classes [H, W] (int64 or uint8) in the colours of the label's palette; ignored pixels are grey.
STRATA_API at::Tensor colourise(const at::Tensor& classes, const LabelSpec& label);

/// `image` with the colours laid over it; class 0 stays clear when the label has a background
/// (`clear_first`).
STRATA_API at::Tensor overlay(const at::Tensor& image, const at::Tensor& classes,
                              const LabelSpec& label, double opacity = 0.5,
                              bool clear_first = false);

/// Prediction against truth of a two-class label: hits white, false alarms red, misses blue,
/// ignored grey.
STRATA_API at::Tensor compare(const at::Tensor& prediction, const at::Tensor& truth,
                              std::int64_t ignore_index);

/// Where a prediction of any number of classes is wrong: red over the dimmed image; ignored grey.
STRATA_API at::Tensor mistakes(const at::Tensor& image, const at::Tensor& prediction,
                               const at::Tensor& truth, std::int64_t ignore_index);

/// A picture made smaller, if need be, so that neither side is longer than `longest`.
STRATA_API at::Tensor shrink(const at::Tensor& picture, std::int64_t longest);

/// Pictures of one height side by side with a white gap.
STRATA_API at::Tensor side_by_side(const std::vector<at::Tensor>& pictures, std::int64_t gap = 4);

}  // namespace strata::inference
