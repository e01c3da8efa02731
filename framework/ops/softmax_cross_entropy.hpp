// Softmax cross entropy of label maps in one pass over the logits, and how many pixels are right.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/base/export.hpp"

namespace strata::ops {

struct CrossEntropyOptions {
  std::int64_t ignore_index = 255;
  double label_smoothing = 0.0;
};

/// The sum over pixels that are not `ignore_index` of
///   v ((1 - e) w[y] (-log p[y]) + e / C sum over c of w[c] (-log p[c]))
/// with p = softmax of the logits, e the label smoothing, w the class weights (undefined: 1) and v
/// the pixel's weight (undefined: 1): PyTorch's cross entropy with reduction "sum".
/// logits [N, C, H, W] float32 or float64 in any layout, target [N, H, W] int64, class_weight [C],
/// pixel_weight [N, H, W] -> scalar with a graph to the logits. On the CPU only a [N, H, W] map is
/// kept for backward besides the logits. Throws DataError for a label that is no class.
STRATA_API at::Tensor softmax_cross_entropy(const at::Tensor& logits, const at::Tensor& target,
                                            const at::Tensor& class_weight,
                                            const at::Tensor& pixel_weight,
                                            const CrossEntropyOptions& options);

/// How many pixels that are not `ignore_index` have their label as the best class: int64 scalar,
/// no graph, no sync.
STRATA_API at::Tensor correct_pixels(const at::Tensor& logits, const at::Tensor& target,
                                     std::int64_t ignore_index);

}  // namespace strata::ops
