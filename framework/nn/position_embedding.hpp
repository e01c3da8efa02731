// Learned position embeddings of image transformers, brought to another size of image.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/base/export.hpp"

namespace strata::nn {

enum class PositionResize {
  bilinear,           // as CLIP's descendants do (align_corners = false)
  bicubic_antialias,  // as timm does
};

/// [..., prefix + h * h, C] -> [..., prefix + height * width, C]: the first `prefix` rows (class
/// token) stay, the others are a square grid, row by row. The embedding itself where the grid has
/// that size already. Differentiable. Throws c10::Error when the grid is no square.
STRATA_API at::Tensor resize_position_embedding(const at::Tensor& embedding, std::int64_t prefix,
                                                std::int64_t height, std::int64_t width,
                                                PositionResize mode);

/// For files (io::AdaptsWeights): `loaded` in the shape of `own`, both square grids behind `prefix`
/// rows; undefined when that cannot be.
STRATA_API at::Tensor adapt_position_embedding(const at::Tensor& loaded, const at::Tensor& own,
                                               std::int64_t prefix, PositionResize mode);

}  // namespace strata::nn
