// Plain loops over the pixels of a row. What they give does not depend on the processor.
#pragma once

#include <cstdint>
#include <vector>

namespace strata::data {

/// The two old pixels that each new one lies between, and their weights in 1/2048, as OpenCV's
/// bilinear resizing rounds them.
struct Axis {
  /// The new pixels [first, first + count) of `to` that `from` are resized to.
  Axis(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t count);
  /// … with old pixels counted from `begin`.
  void shift(std::int64_t begin);
  struct Weights {
    std::int16_t low, high;
  };
  std::vector<std::int32_t> low, high;
  std::vector<Weights> weight;
};

/// One old row of pixels at the new columns, with 7 bits of fraction. `out` has room for 8 values
/// more than it receives.
void stretch_row(const std::uint8_t* row, std::int64_t pixels, std::int64_t channels,
                 const Axis& columns, std::int16_t* out);
/// A new row between two old ones.
void blend_rows(const std::int16_t* upper, const std::int16_t* lower, Axis::Weights weights,
                std::uint8_t* out, std::int64_t count);
/// Pixels of so many bytes, the last one first.
void mirror_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t pixels, std::int64_t bytes);
/// Values as they are, in a wider type.
void widen_row(const std::uint8_t* in, std::int64_t* out, std::int64_t count);
/// What a picture is normalised by.
struct Normalizing {
  Normalizing(const std::vector<double>& mean, const std::vector<double>& std);
  std::int64_t channels;
  /// One a channel, repeated for several pixels: so rows of any number of channels are worked on in
  /// whole vectors.
  std::vector<float> means, deviations;
};
/// (value - mean) / deviation.
void normalize_row(const std::uint8_t* in, float* out, std::int64_t pixels, const Normalizing& by);
void normalize_row(const float* in, float* out, std::int64_t pixels, const Normalizing& by);
/// A shift, then a factor of 8-bit values, each cut to 0..255 and truncated (mmseg's rule).
struct Adjustment {
  float shift = 0, factor = 1;
  bool acts() const { return shift != 0 || factor != 1; }
};
/// `out` may be `in`.
void adjust_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t count,
                const Adjustment& by);
/// Whether every value is below `end` or is `other`.
bool all_below_or(const std::uint8_t* in, std::int64_t count, std::uint8_t end, std::uint8_t other);

}  // namespace strata::data
