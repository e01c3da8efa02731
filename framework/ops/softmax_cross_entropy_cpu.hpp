// The loops of softmax_cross_entropy.cpp over raw memory: no LibTorch here, so that this one file
// can be optimised for speed on its own.
#pragma once

#include <cstdint>

namespace strata::ops::cpu {

/// A run of pixels of one sample. Strides are in elements; targets and weights are dense.
template <class T>
struct PixelRun {
  const T* logits = nullptr;
  std::int64_t channels = 0, pixels = 0;
  std::int64_t channel_stride = 0, pixel_stride = 0;
  const std::int64_t* target = nullptr;
  const T* class_weight = nullptr;  // null: all 1
  const T* pixel_weight = nullptr;  // null: all 1
  std::int64_t ignore_index = 255;
  T smoothing = 0;
};

/// The sum of terms; writes log(sum(exp(logits))) of each pixel. A label that is no class counts
/// nothing and is written to `bad_label`.
double cross_entropy_forward(const PixelRun<float>& run, float* log_sum_exp,
                             std::int64_t* bad_label);
double cross_entropy_forward(const PixelRun<double>& run, double* log_sum_exp,
                             std::int64_t* bad_label);

/// Writes `scale` times the gradient, in the strides of the logits.
void cross_entropy_backward(const PixelRun<float>& run, const float* log_sum_exp, float scale,
                            float* grad);
void cross_entropy_backward(const PixelRun<double>& run, const double* log_sum_exp, double scale,
                            double* grad);

std::int64_t correct_pixels(const PixelRun<float>& run);
std::int64_t correct_pixels(const PixelRun<double>& run);

}  // namespace strata::ops::cpu
