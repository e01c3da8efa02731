// Sums run over blocks that stay in the first-level cache: in the tensor's own type inside a block,
// in double across blocks, in an order that does not depend on the number of threads.
#include "framework/ops/batch_norm_act_cpu.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

// One binary serves every x86-64 CPU: the loops are compiled for three of them and chosen at start.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define STRATA_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define STRATA_CLONES
#endif
#define STRATA_INLINE inline __attribute__((always_inline))

namespace strata::ops::cpu {
namespace {

constexpr std::int64_t kBlockRows = 32;       // rows summed in the tensor's own type
constexpr std::int64_t kPieceValues = 16384;  // values that are worth a task

/// Adds a block of `n` values with their mean and squares to a running count, mean and squares
/// (Chan, Golub and LeVeque, 1979).
STRATA_INLINE void merge(double n, double block_mean, double block_squares, double count,
                         double& mean, double& squares) {
  const double delta = block_mean - mean;
  const double total = count + n;
  mean += delta * n / total;
  squares += block_squares + delta * delta * count * n / total;
}

// --- The loops; `work` holds 2 * channels values.

template <class T>
STRATA_INLINE void row_statistics(const T* __restrict x, std::int64_t rows, std::int64_t channels,
                                  T* __restrict work, double* __restrict mean,
                                  double* __restrict squares) {
  T* __restrict center = work;
  T* __restrict spread = work + channels;
  std::fill(mean, mean + channels, 0.0);
  std::fill(squares, squares + channels, 0.0);
  for (std::int64_t start = 0; start < rows; start += kBlockRows) {
    const std::int64_t end = std::min(rows, start + kBlockRows);
    const T share = T(1) / static_cast<T>(end - start);
    std::fill(work, work + 2 * channels, T(0));
    for (std::int64_t r = start; r < end; ++r) {
      const T* __restrict row = x + r * channels;
      for (std::int64_t c = 0; c < channels; ++c) center[c] += row[c];
    }
    for (std::int64_t c = 0; c < channels; ++c) center[c] *= share;
    for (std::int64_t r = start; r < end; ++r) {
      const T* __restrict row = x + r * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        spread[c] += (row[c] - center[c]) * (row[c] - center[c]);
      }
    }
    const double n = static_cast<double>(end - start), count = static_cast<double>(start);
    for (std::int64_t c = 0; c < channels; ++c) {
      merge(n, center[c], spread[c], count, mean[c], squares[c]);
    }
  }
}

template <class T, bool kRelu, bool kAdd>
STRATA_INLINE void row_scale_shift(const T* __restrict x, std::int64_t rows, std::int64_t channels,
                                   const T* __restrict scale, const T* __restrict shift,
                                   const T* __restrict residual, T* __restrict y) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t at = r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      T value = x[at + c] * scale[c] + shift[c];
      if constexpr (kAdd) value += residual[at + c];
      // The other way round it would turn what is not a number into 0, and no loss would show it.
      if constexpr (kRelu) value = value < T(0) ? T(0) : value;
      y[at + c] = value;
    }
  }
}

template <class T, int kMask>  // 0: no ReLU, 1: sign of x * scale + shift, 2: of y, g is stored
STRATA_INLINE void row_gradient_sums(const T* __restrict dy, const T* __restrict x,
                                     const T* __restrict y, std::int64_t rows,
                                     std::int64_t channels, const T* __restrict mean,
                                     const T* __restrict scale, const T* __restrict shift,
                                     T* __restrict masked, T* __restrict work,
                                     double* __restrict sum, double* __restrict dot) {
  T* __restrict sums = work;
  T* __restrict dots = work + channels;
  std::fill(sum, sum + channels, 0.0);
  std::fill(dot, dot + channels, 0.0);
  for (std::int64_t start = 0; start < rows; start += kBlockRows) {
    const std::int64_t end = std::min(rows, start + kBlockRows);
    std::fill(work, work + 2 * channels, T(0));
    for (std::int64_t r = start; r < end; ++r) {
      const std::int64_t at = r * channels;
      for (std::int64_t c = 0; c < channels; ++c) {
        T g = dy[at + c];
        if constexpr (kMask == 1) g = x[at + c] * scale[c] + shift[c] > T(0) ? g : T(0);
        if constexpr (kMask == 2) {
          g = y[at + c] > T(0) ? g : T(0);
          masked[at + c] = g;
        }
        sums[c] += g;
        dots[c] += g * (x[at + c] - mean[c]);
      }
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      sum[c] += sums[c];
      dot[c] += dots[c];
    }
  }
}

template <class T, bool kMask>
STRATA_INLINE void row_input_gradient(const T* __restrict dy, const T* __restrict x,
                                      std::int64_t rows, std::int64_t channels,
                                      const T* __restrict mean, const T* __restrict average,
                                      const T* __restrict slope, const T* __restrict scale,
                                      const T* __restrict shift, T* __restrict dx) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t at = r * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      T g = dy[at + c];
      if constexpr (kMask) g = x[at + c] * scale[c] + shift[c] > T(0) ? g : T(0);
      dx[at + c] = (g - average[c] - (x[at + c] - mean[c]) * slope[c]) * scale[c];
    }
  }
}

// --- The loops above as functions, which is what can be cloned for several CPUs.

#define STRATA_NORM_LOOPS(T)                                                                     \
  STRATA_CLONES void statistics_loop(const T* x, std::int64_t n, std::int64_t c, T* work,        \
                                     double* mean, double* squares) {                            \
    row_statistics(x, n, c, work, mean, squares);                                                \
  }                                                                                              \
  STRATA_CLONES void scale_shift_loop(const T* x, std::int64_t n, std::int64_t c, const T* a,    \
                                      const T* b, const T* r, bool relu, T* y) {                 \
    relu ? (r ? row_scale_shift<T, true, true>(x, n, c, a, b, r, y)                              \
              : row_scale_shift<T, true, false>(x, n, c, a, b, r, y))                            \
         : (r ? row_scale_shift<T, false, true>(x, n, c, a, b, r, y)                             \
              : row_scale_shift<T, false, false>(x, n, c, a, b, r, y));                          \
  }                                                                                              \
  STRATA_CLONES void gradient_sums_loop(                                                         \
      int mask, const T* dy, const T* x, const T* y, std::int64_t n, std::int64_t c, const T* m, \
      const T* a, const T* b, T* masked, T* work, double* sum, double* dot) {                    \
    mask == 0   ? row_gradient_sums<T, 0>(dy, x, y, n, c, m, a, b, masked, work, sum, dot)       \
    : mask == 1 ? row_gradient_sums<T, 1>(dy, x, y, n, c, m, a, b, masked, work, sum, dot)       \
                : row_gradient_sums<T, 2>(dy, x, y, n, c, m, a, b, masked, work, sum, dot);      \
  }                                                                                              \
  STRATA_CLONES void input_gradient_loop(bool mask, const T* dy, const T* x, std::int64_t n,     \
                                         std::int64_t c, const T* m, const T* g, const T* s,     \
                                         const T* a, const T* b, T* dx) {                        \
    mask ? row_input_gradient<T, true>(dy, x, n, c, m, g, s, a, b, dx)                           \
         : row_input_gradient<T, false>(dy, x, n, c, m, g, s, a, b, dx);                         \
  }
STRATA_NORM_LOOPS(float)
STRATA_NORM_LOOPS(double)

/// Pieces of whole rows: what one task works on, and what has sums of its own.
struct Pieces {
  explicit Pieces(const Rows& all)
      : shape(all),
        rows(std::max(kBlockRows, kPieceValues / all.channels / kBlockRows * kBlockRows)),
        number((all.rows + rows - 1) / rows) {}
  std::int64_t size(std::int64_t piece) const { return std::min(rows, shape.rows - piece * rows); }
  std::int64_t start(std::int64_t piece) const { return piece * rows * shape.channels; }
  /// Room for one value a piece and channel.
  std::vector<double> sums() const {
    return std::vector<double>(static_cast<std::size_t>(number * shape.channels));
  }
  double* of(std::vector<double>& values, std::int64_t piece) const {
    return values.data() + piece * shape.channels;
  }
  template <class Body>  // body(piece, offset of its first value)
  void parallel(Body body) const {
    at::parallel_for(0, number, 1, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t piece = from; piece < to; ++piece) body(piece, start(piece));
    });
  }

  Rows shape;
  std::int64_t rows, number;
};

}  // namespace

template <class T>
void batch_statistics(const Rows& shape, const T* x, double* mean, double* squares) {
  const Pieces pieces(shape);
  std::vector<double> means = pieces.sums(), spreads = pieces.sums();
  pieces.parallel([&](std::int64_t piece, std::int64_t at) {
    std::vector<T> work(static_cast<std::size_t>(2 * shape.channels));
    statistics_loop(x + at, pieces.size(piece), shape.channels, work.data(),
                    pieces.of(means, piece), pieces.of(spreads, piece));
  });
  std::fill(mean, mean + shape.channels, 0.0);
  std::fill(squares, squares + shape.channels, 0.0);
  for (std::int64_t piece = 0; piece < pieces.number; ++piece) {
    const auto n = static_cast<double>(pieces.size(piece));
    const auto count = static_cast<double>(piece * pieces.rows);
    const double* m = pieces.of(means, piece);
    const double* s = pieces.of(spreads, piece);
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      merge(n, m[c], s[c], count, mean[c], squares[c]);
    }
  }
}

template <class T>
void scale_shift(const Rows& shape, const T* x, const T* scale, const T* shift, const T* residual,
                 bool relu, T* y) {
  const Pieces pieces(shape);
  pieces.parallel([&](std::int64_t piece, std::int64_t at) {
    scale_shift_loop(x + at, pieces.size(piece), shape.channels, scale, shift,
                     residual ? residual + at : nullptr, relu, y + at);
  });
}

template <class T>
void gradient_sums(const Rows& shape, const T* dy, const T* x, const T* y, const T* mean,
                   const T* scale, const T* shift, bool relu, T* masked, double* sum, double* dot) {
  const Pieces pieces(shape);
  std::vector<double> sums = pieces.sums(), dots = pieces.sums();
  const int mask = !relu ? 0 : y != nullptr ? 2 : 1;
  pieces.parallel([&](std::int64_t piece, std::int64_t at) {
    std::vector<T> work(static_cast<std::size_t>(2 * shape.channels));
    gradient_sums_loop(mask, dy + at, x + at, y ? y + at : nullptr, pieces.size(piece),
                       shape.channels, mean, scale, shift, masked ? masked + at : nullptr,
                       work.data(), pieces.of(sums, piece), pieces.of(dots, piece));
  });
  std::fill(sum, sum + shape.channels, 0.0);
  std::fill(dot, dot + shape.channels, 0.0);
  for (std::int64_t piece = 0; piece < pieces.number; ++piece) {
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      sum[c] += pieces.of(sums, piece)[c];
      dot[c] += pieces.of(dots, piece)[c];
    }
  }
}

template <class T>
void input_gradient(const Rows& shape, const T* dy, const T* x, const T* mean, const T* average,
                    const T* slope, const T* scale, const T* shift, bool relu, T* dx) {
  const Pieces pieces(shape);
  pieces.parallel([&](std::int64_t piece, std::int64_t at) {
    input_gradient_loop(relu, dy + at, x + at, pieces.size(piece), shape.channels, mean, average,
                        slope, scale, shift, dx + at);
  });
}

#define STRATA_INSTANTIATE(T)                                                                 \
  template void batch_statistics(const Rows&, const T*, double*, double*);                    \
  template void scale_shift(const Rows&, const T*, const T*, const T*, const T*, bool, T*);   \
  template void gradient_sums(const Rows&, const T*, const T*, const T*, const T*, const T*,  \
                              const T*, bool, T*, double*, double*);                          \
  template void input_gradient(const Rows&, const T*, const T*, const T*, const T*, const T*, \
                               const T*, const T*, bool, T*);
STRATA_INSTANTIATE(float)
STRATA_INSTANTIATE(double)

}  // namespace strata::ops::cpu
