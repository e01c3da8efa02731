#include "framework/data/rows.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

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

template <class Value>
inline __attribute__((always_inline)) void normalize(const Value* in, float* out,
                                                     std::int64_t pixels, const Normalizing& by) {
  const auto block = static_cast<std::int64_t>(by.means.size());
  const float *means = by.means.data(), *deviations = by.deviations.data();
  for (std::int64_t left = pixels * by.channels; left > 0; left -= block) {
    const std::int64_t count = std::min(left, block);
#pragma GCC ivdep
    for (std::int64_t k = 0; k < count; ++k) {
      out[k] = (static_cast<float>(in[k]) - means[k]) / deviations[k];
    }
    in += block;
    out += block;
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

STRATA_ROW_VERSIONS void stretch_row(const std::uint8_t* row, std::int64_t pixels,
                                     std::int64_t channels, const Axis& columns,
                                     std::int16_t* out) {
  std::size_t x = 0;
  const std::size_t count = columns.low.size();
#if defined(__SSE2__)
  if (channels == 3) {
    // At the left end both pixels are the same one; near the right end 8 bytes would be too many.
    std::size_t end = count;
    while (x < count && columns.high[x] == columns.low[x]) ++x;
    while (end > x && columns.low[end - 1] + 3 > pixels) --end;
    stretch(row, 3, columns, 0, x, out);
    const std::int32_t* low = columns.low.data();
    const Axis::Weights* weight = columns.weight.data();
    for (; x + 2 <= end; x += 2) {
      __m128i sums[2];
      for (std::size_t k = 0; k < 2; ++k) {
        const __m128i both =
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + 3 * low[x + k]));
        // Each channel of the one pixel beside that of the other.
        const __m128i pairs = _mm_unpacklo_epi8(both, _mm_srli_si128(both, 3));
        // As a float it is loaded four times at once.
        const __m128i weights = _mm_castps_si128(_mm_set1_ps(std::bit_cast<float>(weight[x + k])));
        sums[k] = _mm_srai_epi32(
            _mm_madd_epi16(_mm_unpacklo_epi8(pairs, _mm_setzero_si128()), weights), 4);
      }
      const __m128 two = _mm_castsi128_ps(_mm_packs_epi32(sums[0], sums[1]));
      _mm_storel_pi(reinterpret_cast<__m64*>(out + 3 * x), two);
      _mm_storeh_pi(reinterpret_cast<__m64*>(out + 3 * x + 3), two);
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

STRATA_ROW_VERSIONS void mirror_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t pixels,
                                    std::int64_t bytes) {
  out += pixels * bytes;
  std::int64_t left = pixels;
#if defined(__GNUC__) && !defined(__clang__)
  // As many whole pixels as 16 bytes hold; what is written in front of them is not mirrored yet.
  using Block = std::uint8_t __attribute__((vector_size(16)));
  constexpr std::int64_t kBlock = sizeof(Block);
  const std::int64_t together = kBlock / bytes, used = together * bytes, spare = kBlock - used;
  Block places{};
  for (std::int64_t to = spare, from = used - bytes; from >= 0; from -= bytes) {
    for (std::int64_t k = 0; k < bytes; ++k) places[to++] = static_cast<std::uint8_t>(from + k);
  }
  for (; together > 0 && left * bytes >= kBlock; left -= together) {
    Block block;
    std::memcpy(&block, in, kBlock);
    block = __builtin_shuffle(block, places);
    std::memcpy(out - kBlock, &block, kBlock);
    in += used;
    out -= used;
  }
#endif
  for (; left > 0; --left, in += bytes) {
    out -= bytes;
    std::memcpy(out, in, static_cast<std::size_t>(bytes));
  }
}

STRATA_ROW_VERSIONS void widen_row(const std::uint8_t* in, std::int64_t* out, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = in[i];
}

Normalizing::Normalizing(const std::vector<double>& mean, const std::vector<double>& std)
    : channels(static_cast<std::int64_t>(mean.size())) {
  constexpr int kPixels = 32;
  for (int i = 0; i < kPixels; ++i) {
    means.insert(means.end(), mean.begin(), mean.end());
    deviations.insert(deviations.end(), std.begin(), std.end());
  }
}

STRATA_ROW_VERSIONS void normalize_row(const std::uint8_t* in, float* out, std::int64_t pixels,
                                       const Normalizing& by) {
  normalize(in, out, pixels, by);
}

STRATA_ROW_VERSIONS void normalize_row(const float* in, float* out, std::int64_t pixels,
                                       const Normalizing& by) {
  normalize(in, out, pixels, by);
}

STRATA_ROW_VERSIONS void adjust_row(const std::uint8_t* in, std::uint8_t* out, std::int64_t count,
                                    const Adjustment& by) {
  // Cut as whole numbers, which takes fewer steps and comes to the same; above 256 factors do not
  // differ.
  const float shift = by.shift, factor = std::min(by.factor, 256.0F);
  auto cut = [](float value) {
    return std::clamp(static_cast<std::int32_t>(value), 0, 255);
  };
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t shifted = cut(static_cast<float>(in[i]) + shift);
    out[i] = static_cast<std::uint8_t>(cut(static_cast<float>(shifted) * factor));
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
