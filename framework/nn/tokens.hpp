// Maps as tokens and tokens as maps: of a channels-last map both are views.
#pragma once

#include <ATen/core/Tensor.h>

namespace strata::nn {

/// [N, C, H, W] -> [N, H, W, C], contiguous; copies only what is not channels-last.
inline at::Tensor tokens_of(const at::Tensor& map) {
  return map.permute({0, 2, 3, 1}).contiguous();
}

/// [N, H, W, C] -> [N, C, H, W], channels-last: a view.
inline at::Tensor map_of(const at::Tensor& tokens) { return tokens.permute({0, 3, 1, 2}); }

}  // namespace strata::nn
