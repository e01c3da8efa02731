#include "framework/data/rows.hpp"

#include <algorithm>
#include <cmath>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// One version for each vector width, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define STRATA_ROW_VERSIONS __attribute__((target_clones("avx2", "default")))
#else
#define STRATA_ROW_VERSIONS
#endif

namespace strata::data {

namespace {

constexpr int kBits = 11;  // of a weight's fraction, as in OpenCV

void stretch(const std::uint8_t* row, std::int64_t channels, const Axis& columns, std::size_t begin,
             std::size_t end, std::int16_t* out) {
  for (std::size_t x = begin; x < end; ++x) {
    const std::uint8_t* p = row + columns.low[x] * channels;
    const std::uint8_t* q = row + columns.high[x] * channels;
    const auto [a, b] = columns.weight[x];
    for (std::int64_t c = 0; c < channels; ++c) {
      out[static_cast<std::int64_t>(x) * channels + c] =
          static_cast<std::int16_t>((p[c] * a + q[c] * b) >> 4);
    }
  }
}

// Means and deviations of 16 pixels, one after the other, so that any number of channels is worked
// on in whole vectors.
constexpr std::int64_t kPixels = 16;

template <class Value>
inline __attribute__((always_inline)) void normalize(const Value* in, float* out,
                                                     std::int64_t pixels,
                                                     const std::vector<float>& mean,
                                                     const std::vector<float>& std) {
  const auto channels = static_cast<std::int64_t>(mean.size());
  const std::int64_t block = kPixels * channels, count = pixels * channels;
  constexpr std::int64_t kMost = 4;
  float means[kPixels * kMost], deviations[kPixels * kMost];
  std::int64_t i = 0;
  if (channels <= kMost) {
    for (std::int64_t k = 0; k < block; ++k) {
      means[k] = mean[static_cast<std::size_t>(k % channels)];
      deviations[k] = std[static_cast<std::size_t>(k % channels)];
    }
    for (; i + block <= count; i += block) {
      for (std::int64_t k = 0; k < block; ++k) {
        out[i + k] = (static_cast<float>(in[i + k]) - means[k]) / deviations[k];
      }
    }
  }
  for (; i < count; ++i) {
    const auto c = static_cast<std::size_t>(i % channels);
    out[i] = (static_cast<float>(in[i]) - mean[c]) / std[c];
  }
}

}  // namespace

Axis::Axis(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t count)
    : low(static_cast<std::size_t>(count)), high(low.size()), weight(low.size()) {
  // To the last bit as OpenCV has it.
  const double scale = 1.0 / (static_cast<double>(to) / static_cast<double>(from));
  const auto last = static_cast<std::int32_t>(from - 1);
  for (std::size_t k = 0; k < low.size(); ++k) {
    auto place = static_cast<float>(
        (static_cast<double>(first) + static_cast<double>(k) + 0.5) * scale - 0.5);
    const auto before = static_cast<std::int32_t>(std::floor(place));
    place -= static_cast<float>(before);
    low[k] = std::clamp(before, 0, last);
    high[k] = std::clamp(before + 1, 0, last);
    constexpr float kOne = 1 << kBits;
    weight[k] = {static_cast<std::int16_t>(std::nearbyint((1 - place) * kOne)),
                 static_cast<std::int16_t>(std::nearbyint(place * kOne))};
  }
}

void Axis::shift(std::int64_t begin) {
  for (std::size_t k = 0; k < low.size(); ++k) {
    low[k] -= static_cast<std::int32_t>(begin);
    high[k] -= static_cast<std::int32_t>(begin);
  }
}

void stretch_row(const std::uint8_t* row, std::int64_t pixels, std::int64_t channels,
                 const Axis& columns, std::int16_t* out) {
  std::size_t x = 0;
  const std::size_t count = columns.low.size();
#if defined(__SSE2__)
  if (channels == 3) {
    // At the left end both pixels are the same one; near the right end 8 bytes would be too many.
    std::size_t end = count;
    while (x < count && columns.high[x] == columns.low[x]) ++x;
    while (end > x && columns.low[end - 1] + 3 > pixels) --end;
    stretch(row, 3, columns, 0, x, out);
    for (; x < end; ++x) {
      const __m128i both =
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 3 * columns.low[x]));
      // Each channel of the one pixel beside that of the other.
      const __m128i pairs = _mm_unpacklo_epi8(both, _mm_srli_si128(both, 3));
      const auto [a, b] = columns.weight[x];
      const __m128i weights = _mm_set1_epi32(static_cast<int>(
          static_cast<std::uint32_t>(static_cast<std::uint16_t>(b)) << 16 |
          static_cast<std::uint16_t>(a)));
      const __m128i sum = _mm_srai_epi32(
          _mm_madd_epi16(_mm_unpacklo_epi8(pairs, _mm_setzero_si128()), weights), 4);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 3 * x), _mm_packs_epi32(sum, sum));
    }
  }
#else
  static_cast<void>(pixels);
#endif
  stretch(row, channels, columns, x, count, out);
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, Axis::Weights weights,
                std::uint8_t* out, std::int64_t count) {
  const auto [a, b] = weights;
  std::int64_t i = 0;
#if defined(__SSE2__)
  const __m128i high = _mm_set1_epi16(a), low = _mm_set1_epi16(b), two = _mm_set1_epi16(2);
  auto eight = [&](std::int64_t at) {
    const __m128i u = _mm_loadu_si128(reinterpret_cast<const __m128i*>(upper + at));
    const __m128i l = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lower + at));
    const __m128i sum = _mm_add_epi16(_mm_mulhi_epi16(u, high), _mm_mulhi_epi16(l, low));
    return _mm_srai_epi16(_mm_add_epi16(sum, two), 2);
  };
  for (; i + 16 <= count; i += 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm_packus_epi16(eight(i), eight(i + 8)));
  }
#endif
  for (; i < count; ++i) {
    out[i] = static_cast<std::uint8_t>((((a * upper[i]) >> 16) + ((b * lower[i]) >> 16) + 2) >> 2);
  }
}

STRATA_ROW_VERSIONS void widen_row(const std::uint8_t* in, std::int64_t* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = in[i];
}

STRATA_ROW_VERSIONS void normalize_row(const std::uint8_t* in, float* out, std::int64_t pixels,
                                       const std::vector<float>& mean,
                                       const std::vector<float>& std) {
  normalize(in, out, pixels, mean, std);
}

STRATA_ROW_VERSIONS void normalize_row(const float* in, float* out, std::int64_t pixels,
                                       const std::vector<float>& mean,
                                       const std::vector<float>& std) {
  normalize(in, out, pixels, mean, std);
}

STRATA_ROW_VERSIONS void adjust_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t count,
                                    const Adjustment& by) {
  const float shift = by.shift, factor = by.factor;
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    float value = static_cast<float>(in[i]) + shift;
    value = value > 0.0F ? value : 0.0F;
    value = value < 255.0F ? value : 255.0F;
    value = static_cast<float>(static_cast<std::int32_t>(value)) * factor;
    value = value < 255.0F ? value : 255.0F;  // no factor is below 0
    out[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
  }
}

STRATA_ROW_VERSIONS bool all_below_or(const std::uint8_t* in, std::int64_t count, std::uint8_t end,
                                      std::uint8_t other) {
  std::uint8_t wrong = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    wrong |= static_cast<std::uint8_t>(static_cast<std::uint8_t>(in[i] >= end) &
                                       static_cast<std::uint8_t>(in[i] != other));
  }
  return wrong == 0;
}

}  // namespace strata::data
