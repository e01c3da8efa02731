#include "framework/nn/resize.hpp"

#include <ATen/ops/upsample_bicubic2d.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace strata::nn {

at::Tensor resize(const at::Tensor& x, std::int64_t height, std::int64_t width, ResizeMode mode,
                  bool align_corners) {
  if (x.size(2) == height && x.size(3) == width) return x;
  switch (mode) {
    case ResizeMode::nearest:
      return at::upsample_nearest2d(x, {height, width});
    case ResizeMode::bilinear:
      return at::upsample_bilinear2d(x, {height, width}, align_corners);
    case ResizeMode::bicubic:
      return at::upsample_bicubic2d(x, {height, width}, align_corners);
  }
  return x;
}

at::Tensor resize_as(const at::Tensor& x, const at::Tensor& like, ResizeMode mode,
                     bool align_corners) {
  return resize(x, like.size(2), like.size(3), mode, align_corners);
}

}  // namespace strata::nn
