#include "framework/nn/upsampled_conv.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <cstdint>

#include "framework/nn/resize.hpp"

namespace strata::nn {
namespace {

/// With fewer values a channel, summing the taps and laying the sums out costs more than it saves
/// (measured with oneDNN: equal at 256).
constexpr std::int64_t kFewestPixels = 512;

/// [C', C, 3, 3] over a map whose values come twice -> [C, C', 4, 4] over the map itself, for a
/// transposed convolution of stride 2 and padding 1.
at::Tensor summed_taps(const at::Tensor& weight) {
  // Row u: the taps that one value meets at the u-th of the four places that it reaches.
  const at::Tensor line = at::tensor({0., 0., 1., 0., 1., 1., 1., 1., 0., 1., 0., 0.},
                                     at::TensorOptions(at::kDouble))
                              .view({4, 3})
                              .to(weight.options());
  const std::int64_t out = weight.size(0), in = weight.size(1);
  return at::matmul(weight.reshape({out * in, 9}), at::kron(line, line).t())
      .view({out, in, 4, 4})
      .transpose(0, 1);
}

}  // namespace

at::Tensor upsampled_conv(const at::Tensor& coarse, const at::Tensor& skip,
                          const at::Tensor& weight, const at::Tensor& bias) {
  const std::int64_t h = coarse.size(2), w = coarse.size(3), channels = coarse.size(1);
  const std::int64_t height = skip.defined() ? skip.size(2) : 2 * h;
  const std::int64_t width = skip.defined() ? skip.size(3) : 2 * w;
  if (height != 2 * h || width != 2 * w || coarse.size(0) * h * w < kFewestPixels) {
    const at::Tensor fine = resize(coarse, height, width, ResizeMode::nearest, false);
    return at::conv2d(skip.defined() ? at::cat({fine, skip}, 1) : fine, weight, bias, 1, 1);
  }
  if (!skip.defined()) return at::conv_transpose2d(coarse, summed_taps(weight), bias, 2, 1);
  const auto parts = weight.split_with_sizes({channels, skip.size(1)}, 1);
  const at::Tensor enlarged = at::conv_transpose2d(coarse, summed_taps(parts[0]), {}, 2, 1);
  return at::conv2d(skip, parts[1], bias, 1, 1).add_(enlarged);
}

}  // namespace strata::nn
