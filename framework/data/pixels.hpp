// Geometry on pictures [H, W, C] and label maps [H, W] (uint8 or float32). Pixels of a row lie
// beside each other; rows may be apart, so that a crop is a view. Nothing here starts a thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/data/rows.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

/// "bilinear", "nearest", "bicubic" or "area", as OpenCV computes them.
STRATA_API at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width,
                                   const std::string& interpolation);
/// The value of the pixel under each new pixel's centre: in step with bilinear pictures, where
/// OpenCV's plain "nearest" is off by up to half a pixel.
STRATA_API at::Tensor resize_label(const at::Tensor& map, std::int64_t height, std::int64_t width);
/// A part of a picture after resizing it to full_height x full_width.
struct Window {
  std::int64_t full_height, full_width, top, left, height, width;
};
/// The same bytes as a crop of resize_image(), without computing the rest (bilinear, 8 bits), nor
/// decoding it.
STRATA_API at::Tensor resize_window(const io::LazyImage& image, const Window& window,
                                    const std::string& interpolation);
/// The same as a crop of resize_label().
STRATA_API at::Tensor resize_label_window(const at::Tensor& map, const Window& window);
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

/// The same, filled with the picture itself: "edge" repeats the last pixel, "reflect" mirrors
/// without it, "symmetric" with it.
STRATA_API at::Tensor pad_mirrored(const at::Tensor& pixels, std::int64_t height,
                                   std::int64_t width, const std::string& mode);

/// Where (x, y) of the old picture lies in the new one: (a x + b y + c, d x + e y + f), with pixel
/// centres at whole numbers.
using Affine = std::array<double, 6>;

/// The picture under an affine map, "bilinear", "bicubic" or "nearest"; what lies outside it is
/// `fill` (one a channel, or one for all).
STRATA_API at::Tensor warp(const at::Tensor& pixels, const Affine& affine, std::int64_t height,
                           std::int64_t width, const std::string& interpolation,
                           const std::vector<double>& fill);

/// (value - mean) / deviation as float.
STRATA_API at::Tensor normalize(const at::Tensor& image, const Normalizing& by);
/// Row `y` of it.
void normalize_row(const at::Tensor& image, std::int64_t y, const Normalizing& by, float* out);

/// A new value for each of the 256 values.
using Table = std::array<std::uint8_t, 256>;
STRATA_API Table identity_table();
STRATA_API at::Tensor look_up(const at::Tensor& pixels, const Table& table);

}  // namespace strata::data
