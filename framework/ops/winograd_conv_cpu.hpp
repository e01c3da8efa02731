// The loops of winograd_conv.cpp over raw memory: no LibTorch here, so that this one file can be
// optimised for speed on its own.
#pragma once

#include <cstdint>

namespace strata::ops::cpu {

/// A channels-last map cut into tiles of 2 x 2; a row of tiles is counted over all images.
struct TiledMap {
  std::int64_t height, width, channels;
  std::int64_t tile_rows() const { return (height + 1) / 2; }  // of an image
  std::int64_t tile_columns() const { return (width + 1) / 2; }
};

// Transformed tiles lie as [16][tiles][channels]; `plane` is the distance of two of the 16. `out`
// and `in` point to the first tile of the row.

/// The 4 x 4 values around each tile of a row (zero outside of the map), transformed.
template <class T>
void winograd_input(const TiledMap& map, const T* x, std::int64_t tile_row, std::int64_t plane,
                    T* out);
/// The tiles of a row of the result; `bias` may be null.
template <class T>
void winograd_output(const TiledMap& map, const T* in, std::int64_t tile_row, std::int64_t plane,
                     const T* bias, bool relu, T* y);
/// The gradient of winograd_output without ReLU.
template <class T>
void winograd_output_gradient(const TiledMap& map, const T* dy, std::int64_t tile_row,
                              std::int64_t plane, T* out);

/// A kernel [3][3][channels] to [16][channels], and the gradient of that. `turned` by 180 degrees.
template <class T>
void winograd_kernel(const T* kernel, std::int64_t channels, bool turned, std::int64_t plane,
                     T* out);
template <class T>
void winograd_kernel_gradient(const T* in, std::int64_t channels, std::int64_t plane, T* kernel);

}  // namespace strata::ops::cpu
