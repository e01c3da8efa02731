// The transforms of Winograd's F(2 x 2, 3 x 3) (Lavin and Gray, CVPR 2016), channel by channel.
#include "framework/ops/winograd_conv_cpu.hpp"

#include <algorithm>
#include <array>
#include <limits>
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

template <class T>
using From = std::array<const T*, 16>;

// Each loop reads and writes separate memory.
#define STRATA_CHANNELS _Pragma("GCC ivdep") for (std::int64_t c = 0; c < channels; ++c)

/// B^T d B with B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1].
template <class T>
STRATA_INLINE void input_tile(const From<T>& d, std::int64_t channels, std::int64_t plane, T* out) {
  STRATA_CHANNELS {
    T t[16];
    for (int j = 0; j < 4; ++j) {
      const T d0 = d[j][c], d1 = d[4 + j][c], d2 = d[8 + j][c], d3 = d[12 + j][c];
      t[j] = d0 - d2;
      t[4 + j] = d1 + d2;
      t[8 + j] = d2 - d1;
      t[12 + j] = d1 - d3;
    }
    for (int i = 0; i < 4; ++i) {
      const T t0 = t[4 * i], t1 = t[4 * i + 1], t2 = t[4 * i + 2], t3 = t[4 * i + 3];
      out[(4 * i) * plane + c] = t0 - t2;
      out[(4 * i + 1) * plane + c] = t1 + t2;
      out[(4 * i + 2) * plane + c] = t2 - t1;
      out[(4 * i + 3) * plane + c] = t1 - t3;
    }
  }
}

/// A^T m A with A^T = [1 1 1 0; 0 1 -1 -1].
template <class T>
STRATA_INLINE void output_tile(const T* m, std::int64_t channels, std::int64_t plane, const T* bias,
                               bool relu, T* y00, T* y01, T* y10, T* y11) {
  const T least = relu ? T(0) : -std::numeric_limits<T>::infinity();
  STRATA_CHANNELS {
    T s[8];
    for (int j = 0; j < 4; ++j) {
      const T m0 = m[j * plane + c], m1 = m[(4 + j) * plane + c], m2 = m[(8 + j) * plane + c],
              m3 = m[(12 + j) * plane + c];
      s[j] = m0 + m1 + m2;
      s[4 + j] = m1 - m2 - m3;
    }
    const T b = bias[c];
    const T v00 = s[0] + s[1] + s[2] + b, v01 = s[1] - s[2] - s[3] + b;
    const T v10 = s[4] + s[5] + s[6] + b, v11 = s[5] - s[6] - s[7] + b;
    // The other way round it would turn what is not a number into 0.
    y00[c] = v00 < least ? least : v00;
    y01[c] = v01 < least ? least : v01;
    y10[c] = v10 < least ? least : v10;
    y11[c] = v11 < least ? least : v11;
  }
}

/// A g A^T.
template <class T>
STRATA_INLINE void gradient_tile(const std::array<const T*, 4>& g, std::int64_t channels,
                                 std::int64_t plane, T* out) {
  STRATA_CHANNELS {
    const T g00 = g[0][c], g01 = g[1][c], g10 = g[2][c], g11 = g[3][c];
    const T r0[4] = {g00, g00 + g10, g00 - g10, -g10};
    const T r1[4] = {g01, g01 + g11, g01 - g11, -g11};
    for (int i = 0; i < 4; ++i) {
      out[(4 * i) * plane + c] = r0[i];
      out[(4 * i + 1) * plane + c] = r0[i] + r1[i];
      out[(4 * i + 2) * plane + c] = r0[i] - r1[i];
      out[(4 * i + 3) * plane + c] = -r1[i];
    }
  }
}

/// G k G^T with G = [1 0 0; .5 .5 .5; .5 -.5 .5; 0 0 1].
template <class T>
STRATA_INLINE void kernel_tile(const T* k, std::int64_t channels, bool turned, std::int64_t plane,
                               T* out) {
  const std::int64_t first = turned ? 8 : 0, step = turned ? -1 : 1;
  STRATA_CHANNELS {
    T t[12];
    for (int j = 0; j < 3; ++j) {
      const T k0 = k[(first + step * j) * channels + c],
              k1 = k[(first + step * (3 + j)) * channels + c],
              k2 = k[(first + step * (6 + j)) * channels + c];
      t[j] = k0;
      t[3 + j] = T(0.5) * (k0 + k1 + k2);
      t[6 + j] = T(0.5) * (k0 - k1 + k2);
      t[9 + j] = k2;
    }
    for (int i = 0; i < 4; ++i) {
      const T t0 = t[3 * i], t1 = t[3 * i + 1], t2 = t[3 * i + 2];
      out[(4 * i) * plane + c] = t0;
      out[(4 * i + 1) * plane + c] = T(0.5) * (t0 + t1 + t2);
      out[(4 * i + 2) * plane + c] = T(0.5) * (t0 - t1 + t2);
      out[(4 * i + 3) * plane + c] = t2;
    }
  }
}

/// G^T u G.
template <class T>
STRATA_INLINE void kernel_gradient_tile(const T* u, std::int64_t channels, std::int64_t plane,
                                        T* k) {
  STRATA_CHANNELS {
    T t[12];
    for (int j = 0; j < 4; ++j) {
      const T u0 = u[j * plane + c], u1 = u[(4 + j) * plane + c], u2 = u[(8 + j) * plane + c],
              u3 = u[(12 + j) * plane + c];
      t[j] = u0 + T(0.5) * (u1 + u2);
      t[4 + j] = T(0.5) * (u1 - u2);
      t[8 + j] = T(0.5) * (u1 + u2) + u3;
    }
    for (int i = 0; i < 3; ++i) {
      const T t0 = t[4 * i], t1 = t[4 * i + 1], t2 = t[4 * i + 2], t3 = t[4 * i + 3];
      k[(3 * i) * channels + c] = t0 + T(0.5) * (t1 + t2);
      k[(3 * i + 1) * channels + c] = T(0.5) * (t1 - t2);
      k[(3 * i + 2) * channels + c] = T(0.5) * (t1 + t2) + t3;
    }
  }
}

// --- The loops above as functions, which is what can be cloned for several CPUs.

#define STRATA_TILE_LOOPS(T)                                                                       \
  STRATA_CLONES void input_loop(const From<T>& d, std::int64_t n, std::int64_t plane, T* out) {    \
    input_tile(d, n, plane, out);                                                                  \
  }                                                                                                \
  STRATA_CLONES void output_loop(const T* m, std::int64_t n, std::int64_t plane, const T* bias,    \
                                 bool relu, T* y00, T* y01, T* y10, T* y11) {                      \
    output_tile(m, n, plane, bias, relu, y00, y01, y10, y11);                                      \
  }                                                                                                \
  STRATA_CLONES void gradient_loop(const std::array<const T*, 4>& g, std::int64_t n,               \
                                   std::int64_t plane, T* out) {                                   \
    gradient_tile(g, n, plane, out);                                                               \
  }                                                                                                \
  STRATA_CLONES void kernel_loop(const T* k, std::int64_t n, bool turned, std::int64_t plane,      \
                                 T* out) {                                                         \
    kernel_tile(k, n, turned, plane, out);                                                         \
  }                                                                                                \
  STRATA_CLONES void kernel_gradient_loop(const T* u, std::int64_t n, std::int64_t plane, T* k) {  \
    kernel_gradient_tile(u, n, plane, k);                                                          \
  }
STRATA_TILE_LOOPS(float)
STRATA_TILE_LOOPS(double)

/// A pixel of the image that tile row `tile_row` belongs to; `outside` where there is none.
template <class T>
T* pixel(const TiledMap& map, T* x, std::int64_t image, std::int64_t y, std::int64_t column,
         T* outside) {
  if (y < 0 || y >= map.height || column < 0 || column >= map.width) return outside;
  return x + ((image * map.height + y) * map.width + column) * map.channels;
}

}  // namespace

template <class T>
void winograd_input(const TiledMap& map, const T* x, std::int64_t tile_row, std::int64_t plane,
                    T* out) {
  const std::vector<T> zeros(static_cast<std::size_t>(map.channels));
  const std::int64_t image = tile_row / map.tile_rows(), top = tile_row % map.tile_rows() * 2 - 1;
  From<T> d;
  for (std::int64_t t = 0; t < map.tile_columns(); ++t) {
    for (std::size_t k = 0; k < 16; ++k) {
      d[k] = pixel(map, x, image, top + static_cast<std::int64_t>(k / 4),
                   2 * t - 1 + static_cast<std::int64_t>(k % 4), zeros.data());
    }
    input_loop(d, map.channels, plane, out + t * map.channels);
  }
}

template <class T>
void winograd_output(const TiledMap& map, const T* in, std::int64_t tile_row, std::int64_t plane,
                     const T* bias, bool relu, T* y) {
  std::vector<T> unseen(static_cast<std::size_t>(map.channels)), zeros(unseen);
  const std::int64_t image = tile_row / map.tile_rows(), top = tile_row % map.tile_rows() * 2;
  for (std::int64_t t = 0; t < map.tile_columns(); ++t) {
    const auto at = [&](std::int64_t i, std::int64_t j) {
      return pixel(map, y, image, top + i, 2 * t + j, unseen.data());
    };
    output_loop(in + t * map.channels, map.channels, plane, bias ? bias : zeros.data(), relu,
                at(0, 0), at(0, 1), at(1, 0), at(1, 1));
  }
}

template <class T>
void winograd_output_gradient(const TiledMap& map, const T* dy, std::int64_t tile_row,
                              std::int64_t plane, T* out) {
  const std::vector<T> zeros(static_cast<std::size_t>(map.channels));
  const std::int64_t image = tile_row / map.tile_rows(), top = tile_row % map.tile_rows() * 2;
  for (std::int64_t t = 0; t < map.tile_columns(); ++t) {
    const auto at = [&](std::int64_t i, std::int64_t j) {
      return pixel(map, dy, image, top + i, 2 * t + j, zeros.data());
    };
    gradient_loop({at(0, 0), at(0, 1), at(1, 0), at(1, 1)}, map.channels, plane,
                  out + t * map.channels);
  }
}

template <class T>
void winograd_kernel(const T* kernel, std::int64_t channels, bool turned, std::int64_t plane,
                     T* out) {
  kernel_loop(kernel, channels, turned, plane, out);
}

template <class T>
void winograd_kernel_gradient(const T* in, std::int64_t channels, std::int64_t plane, T* kernel) {
  kernel_gradient_loop(in, channels, plane, kernel);
}

#define STRATA_INSTANTIATE(T)                                                                      \
  template void winograd_input(const TiledMap&, const T*, std::int64_t, std::int64_t, T*);         \
  template void winograd_output(const TiledMap&, const T*, std::int64_t, std::int64_t, const T*,   \
                                bool, T*);                                                         \
  template void winograd_output_gradient(const TiledMap&, const T*, std::int64_t, std::int64_t,    \
                                         T*);                                                      \
  template void winograd_kernel(const T*, std::int64_t, bool, std::int64_t, T*);                   \
  template void winograd_kernel_gradient(const T*, std::int64_t, std::int64_t, T*);
STRATA_INSTANTIATE(float)
STRATA_INSTANTIATE(double)

}  // namespace strata::ops::cpu
