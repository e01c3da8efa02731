#include "framework/ops/softmax_cross_entropy_cpu.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

// One version for each vector width, chosen when the library is loaded.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define STRATA_VECTOR_VERSIONS __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STRATA_VECTOR_VERSIONS
#endif
#define STRATA_INLINE inline __attribute__((always_inline))

namespace strata::ops::cpu {
namespace {

// Pixels are worked on in blocks, [channel][pixel], so that every inner loop runs over kBlock
// neighbours and becomes vector code whatever the layout of the logits.
constexpr std::int64_t kBlock = 64;

// exp(x) for x <= 0 (a hair above is fine), to 2 ulp: x = n ln 2 + r, a polynomial in r, times
// 2^n. Coefficients of Moshier's Cephes.
STRATA_INLINE float exponential(float x) {
  x = x < -87.0F ? -87.0F : x;
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504088896341F + kRound) - kRound;
  const float r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  float p = 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  return p * std::bit_cast<float>((static_cast<std::int32_t>(n) + 127) << 23);
}
STRATA_INLINE double exponential(double x) { return std::exp(x); }

// log(x) for normal x > 0, to 2 ulp; what is not a number stays so. Coefficients of Moshier's
// Cephes.
STRATA_INLINE float logarithm(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  float e = static_cast<float>((bits >> 23) - 126);
  const bool small = m < 0.707106781186547524F;
  e = small ? e - 1.0F : e;
  m = (small ? m + m : m) - 1.0F;
  const float z = m * m;
  float p = 7.0376836292e-2F;
  p = p * m - 1.1514610310e-1F;
  p = p * m + 1.1676998740e-1F;
  p = p * m - 1.2420140846e-1F;
  p = p * m + 1.4249322787e-1F;
  p = p * m - 1.6668057665e-1F;
  p = p * m + 2.0000714765e-1F;
  p = p * m - 2.4999993993e-1F;
  p = p * m + 3.3333331174e-1F;
  float y = p * m * z;
  y += e * -2.12194440e-4F;
  y -= 0.5F * z;
  return x > 0 ? m + y + e * 0.693359375F : x;
}
STRATA_INLINE double logarithm(double x) { return std::log(x); }

// block[c * kBlock + b] = logit c of pixel first + b; lanes past the run repeat its last pixel.
template <class T>
STRATA_INLINE void load(const PixelRun<T>& run, std::int64_t first, std::int64_t count, T* block) {
  const T* source = run.logits + first * run.pixel_stride;
  if (run.pixel_stride == 1) {
    for (std::int64_t c = 0; c < run.channels; ++c) {
      std::copy_n(source + c * run.channel_stride, count, block + c * kBlock);
    }
  } else {
    for (std::int64_t b = 0; b < count; ++b) {
      for (std::int64_t c = 0; c < run.channels; ++c) {
        block[c * kBlock + b] = source[b * run.pixel_stride + c * run.channel_stride];
      }
    }
  }
  for (std::int64_t c = 0; count < kBlock && c < run.channels; ++c) {
    std::fill(block + c * kBlock + count, block + (c + 1) * kBlock, block[c * kBlock + count - 1]);
  }
}

template <class T>
STRATA_INLINE void store(const PixelRun<T>& run, std::int64_t first, std::int64_t count,
                         const T* block, T* grad) {
  T* target = grad + first * run.pixel_stride;
  if (run.pixel_stride == 1) {
    for (std::int64_t c = 0; c < run.channels; ++c) {
      std::copy_n(block + c * kBlock, count, target + c * run.channel_stride);
    }
  } else {
    for (std::int64_t b = 0; b < count; ++b) {
      for (std::int64_t c = 0; c < run.channels; ++c) {
        target[b * run.pixel_stride + c * run.channel_stride] = block[c * kBlock + b];
      }
    }
  }
}

template <class T>
STRATA_INLINE double forward(const PixelRun<T>& run, T* log_sum_exp, std::int64_t* bad_label,
                             T* block) {
  const std::int64_t channels = run.channels;
  double total = 0;
  for (std::int64_t first = 0; first < run.pixels; first += kBlock) {
    const std::int64_t count = std::min(kBlock, run.pixels - first);
    load(run, first, count, block);
    T highest[kBlock], sum[kBlock], lse[kBlock], weighted[kBlock];
    for (std::int64_t b = 0; b < kBlock; ++b) {
      highest[b] = block[b];
      sum[b] = 0;
      weighted[b] = 0;
    }
    for (std::int64_t c = 1; c < channels; ++c) {
      const T* x = block + c * kBlock;
      for (std::int64_t b = 0; b < kBlock; ++b) highest[b] = x[b] > highest[b] ? x[b] : highest[b];
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      const T* x = block + c * kBlock;
      for (std::int64_t b = 0; b < kBlock; ++b) sum[b] += exponential(x[b] - highest[b]);
    }
    for (std::int64_t b = 0; b < kBlock; ++b) lse[b] = highest[b] + logarithm(sum[b]);
    if (run.smoothing > 0) {
      for (std::int64_t c = 0; c < channels; ++c) {
        const T* x = block + c * kBlock;
        const T weight = run.class_weight != nullptr ? run.class_weight[c] : T(1);
        for (std::int64_t b = 0; b < kBlock; ++b) weighted[b] += weight * (lse[b] - x[b]);
      }
    }
    for (std::int64_t b = 0; b < count; ++b) {
      log_sum_exp[first + b] = lse[b];
      const std::int64_t y = run.target[first + b];
      if (y == run.ignore_index) continue;
      if (y < 0 || y >= channels) {
        *bad_label = y;
        continue;
      }
      const T weight = run.class_weight != nullptr ? run.class_weight[y] : T(1);
      T term = weight * (lse[b] - block[y * kBlock + b]);
      if (run.smoothing > 0) {
        term = (1 - run.smoothing) * term + run.smoothing / static_cast<T>(channels) * weighted[b];
      }
      total += run.pixel_weight != nullptr ? run.pixel_weight[first + b] * term : term;
    }
  }
  return total;
}

template <class T>
STRATA_INLINE void backward(const PixelRun<T>& run, const T* log_sum_exp, T scale, T* grad,
                            T* block) {
  const std::int64_t channels = run.channels;
  const T even = run.smoothing / static_cast<T>(channels);
  T weights = static_cast<T>(channels);
  if (run.class_weight != nullptr) {
    weights = 0;
    for (std::int64_t c = 0; c < channels; ++c) weights += run.class_weight[c];
  }
  for (std::int64_t first = 0; first < run.pixels; first += kBlock) {
    const std::int64_t count = std::min(kBlock, run.pixels - first);
    load(run, first, count, block);
    // d/dx[c] = factor (p[c] mass - own [c = y] - even w[c]), nothing where the pixel is ignored.
    T lse[kBlock] = {}, factor[kBlock] = {}, mass[kBlock] = {}, own[kBlock] = {};
    for (std::int64_t b = 0; b < count; ++b) {
      const std::int64_t y = run.target[first + b];
      lse[b] = log_sum_exp[first + b];
      if (y == run.ignore_index || y < 0 || y >= channels) continue;
      const T weight = run.class_weight != nullptr ? run.class_weight[y] : T(1);
      own[b] = (1 - run.smoothing) * weight;
      mass[b] = own[b] + even * weights;
      factor[b] = run.pixel_weight != nullptr ? scale * run.pixel_weight[first + b] : scale;
    }
    std::fill(lse + count, lse + kBlock, lse[count - 1]);  // as load() does with the logits
    for (std::int64_t c = 0; c < channels; ++c) {
      T* x = block + c * kBlock;
      const T rest = even * (run.class_weight != nullptr ? run.class_weight[c] : T(1));
      for (std::int64_t b = 0; b < kBlock; ++b) {
        x[b] = factor[b] * (exponential(x[b] - lse[b]) * mass[b] - rest);
      }
    }
    for (std::int64_t b = 0; b < count; ++b) {
      if (factor[b] != 0) block[run.target[first + b] * kBlock + b] -= factor[b] * own[b];
    }
    store(run, first, count, block, grad);
  }
}

template <class T>
STRATA_INLINE std::int64_t correct(const PixelRun<T>& run, T* block) {
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  std::int64_t total = 0;
  for (std::int64_t first = 0; first < run.pixels; first += kBlock) {
    const std::int64_t count = std::min(kBlock, run.pixels - first);
    load(run, first, count, block);
    T highest[kBlock];
    Index best[kBlock];
    for (std::int64_t b = 0; b < kBlock; ++b) {
      highest[b] = block[b];
      best[b] = 0;
    }
    for (std::int64_t c = 1; c < run.channels; ++c) {
      const T* x = block + c * kBlock;
      for (std::int64_t b = 0; b < kBlock; ++b) {
        best[b] = x[b] > highest[b] ? static_cast<Index>(c) : best[b];
        highest[b] = x[b] > highest[b] ? x[b] : highest[b];
      }
    }
    for (std::int64_t b = 0; b < count; ++b) {
      const std::int64_t y = run.target[first + b];
      total += y != run.ignore_index && y == best[b] ? 1 : 0;
    }
  }
  return total;
}

template <class T>
std::vector<T> block_of(const PixelRun<T>& run) {
  return std::vector<T>(static_cast<std::size_t>(run.channels * kBlock));
}

STRATA_VECTOR_VERSIONS double forward_float(const PixelRun<float>& run, float* lse,
                                            std::int64_t* bad_label, float* block) {
  return forward(run, lse, bad_label, block);
}
STRATA_VECTOR_VERSIONS void backward_float(const PixelRun<float>& run, const float* lse,
                                           float scale, float* grad, float* block) {
  backward(run, lse, scale, grad, block);
}
STRATA_VECTOR_VERSIONS std::int64_t correct_float(const PixelRun<float>& run, float* block) {
  return correct(run, block);
}

}  // namespace

double cross_entropy_forward(const PixelRun<float>& run, float* log_sum_exp,
                             std::int64_t* bad_label) {
  return forward_float(run, log_sum_exp, bad_label, block_of(run).data());
}

double cross_entropy_forward(const PixelRun<double>& run, double* log_sum_exp,
                             std::int64_t* bad_label) {
  return forward(run, log_sum_exp, bad_label, block_of(run).data());
}

void cross_entropy_backward(const PixelRun<float>& run, const float* log_sum_exp, float scale,
                            float* grad) {
  backward_float(run, log_sum_exp, scale, grad, block_of(run).data());
}

void cross_entropy_backward(const PixelRun<double>& run, const double* log_sum_exp, double scale,
                            double* grad) {
  backward(run, log_sum_exp, scale, grad, block_of(run).data());
}

std::int64_t correct_pixels(const PixelRun<float>& run) {
  return correct_float(run, block_of(run).data());
}

std::int64_t correct_pixels(const PixelRun<double>& run) {
  return correct(run, block_of(run).data());
}

}  // namespace strata::ops::cpu
