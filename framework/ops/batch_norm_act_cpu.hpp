// The CPU kernels of batch_norm_act, on raw memory.
#pragma once

#include <cstdint>

namespace strata::ops::cpu {

/// A channels-last tensor: rows of channels, one row a pixel.
struct Rows {
  std::int64_t rows = 0, channels = 0;
};

/// Mean and sum of squared deviations of each channel.
template <class T>
void batch_statistics(const Rows& shape, const T* x, double* mean, double* squares);

/// y = x * scale + shift (+ residual), then ReLU on request.
template <class T>
void scale_shift(const Rows& shape, const T* x, const T* scale, const T* shift, const T* residual,
                 bool relu, T* y);

/// The gradient that passes the ReLU, g = dy where the output was positive, summed a channel:
/// sum = sum g, dot = sum g (x - mean). Without a ReLU g is dy. The output's sign is that of
/// x * scale + shift, or of `y` where it is given; g is written to `masked` where that is given.
template <class T>
void gradient_sums(const Rows& shape, const T* dy, const T* x, const T* y, const T* mean,
                   const T* scale, const T* shift, bool relu, T* masked, double* sum, double* dot);

/// dx = (g - average - (x - mean) * slope) * scale, with g as above; `dy` is g itself when `relu`
/// is false.
template <class T>
void input_gradient(const Rows& shape, const T* dy, const T* x, const T* mean, const T* average,
                    const T* slope, const T* scale, const T* shift, bool relu, T* dx);

}  // namespace strata::ops::cpu
