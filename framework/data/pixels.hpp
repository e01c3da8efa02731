// Geometry on pictures [H, W, C] and label maps [H, W] (uint8 or float32). Pixels of a row lie
// beside each other; rows may be apart, so that a crop is a view. Nothing here starts a thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::data {

/// "bilinear", "nearest", "bicubic" or "area", as OpenCV computes them.
STRATA_API at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width,
                                   const std::string& interpolation);
/// The value of the pixel under each new pixel's centre: in step with bilinear pictures, where
/// OpenCV's plain "nearest" is off by up to half a pixel.
STRATA_API at::Tensor resize_label(const at::Tensor& map, std::int64_t height, std::int64_t width);
/// The rows [top, top + height) and columns [left, left + width), as a view.
STRATA_API at::Tensor crop(const at::Tensor& pixels, std::int64_t top, std::int64_t left,
                           std::int64_t height, std::int64_t width);
/// Mirrors left and right (`horizontal`), top and bottom (`vertical`), or both.
STRATA_API at::Tensor flip(const at::Tensor& pixels, bool horizontal, bool vertical);
/// Turns by `quarters` x 90 degrees counter-clockwise.
STRATA_API at::Tensor rotate90(const at::Tensor& pixels, std::int64_t quarters);
/// Adds rows below and columns to the right, filled with `value` (one a channel, or one for all).
STRATA_API at::Tensor pad(const at::Tensor& pixels, std::int64_t height, std::int64_t width,
                          const std::vector<double>& value);

}  // namespace strata::data
