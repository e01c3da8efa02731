// Maps as tokens and tokens as maps, of a channels-last map both are views; and what is cut in
// patches.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/constant_pad_nd.h>

#include <cstdint>

namespace strata::nn {

/// [N, C, H, W] -> [N, H, W, C], contiguous; copies only what is not channels-last.
inline at::Tensor tokens_of(const at::Tensor& map) {
  return map.permute({0, 2, 3, 1}).contiguous();
}

/// [N, H, W, C] -> [N, C, H, W], channels-last: a view.
inline at::Tensor map_of(const at::Tensor& tokens) { return tokens.permute({0, 3, 1, 2}); }

/// [N, C, H, W] padded with zeros at the right and below to whole patches; itself where it has
/// such.
inline at::Tensor whole_patches(const at::Tensor& images, std::int64_t patch) {
  const std::int64_t below = (patch - images.size(2) % patch) % patch;
  const std::int64_t right = (patch - images.size(3) % patch) % patch;
  if (below == 0 && right == 0) return images;
  return at::constant_pad_nd(images, {0, right, 0, below});
}

}  // namespace strata::nn
