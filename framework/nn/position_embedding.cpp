#include "framework/nn/position_embedding.hpp"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/upsample_bilinear2d.h>

#include <cmath>

namespace strata::nn {
namespace {

/// The side of a square of so many positions, 0 when there is none.
std::int64_t square_side(std::int64_t positions) {
  const auto side = static_cast<std::int64_t>(std::lround(std::sqrt(positions)));
  return side * side == positions ? side : 0;
}

}  // namespace

at::Tensor resize_position_embedding(const at::Tensor& embedding, std::int64_t prefix,
                                     std::int64_t height, std::int64_t width, PositionResize mode) {
  const std::int64_t positions = embedding.size(-2) - prefix;
  const std::int64_t side = positions > 0 ? square_side(positions) : 0;
  TORCH_CHECK(side > 0, "position embedding: ", positions, " positions are no square grid");
  if (side == height && side == width) return embedding;
  const std::int64_t channels = embedding.size(-1);
  const at::Tensor grid = embedding.narrow(-2, prefix, positions)
                              .reshape({1, side, side, channels})
                              .permute({0, 3, 1, 2});
  const at::Tensor resized =
      mode == PositionResize::bilinear
          ? at::upsample_bilinear2d(grid, {height, width}, /*align_corners=*/false)
          : at::_upsample_bicubic2d_aa(grid, {height, width}, /*align_corners=*/false);
  auto shape = embedding.sizes().vec();
  shape[shape.size() - 2] = height * width;
  const at::Tensor tokens = resized.permute({0, 2, 3, 1}).reshape(shape);
  if (prefix == 0) return tokens;
  return at::cat({embedding.narrow(-2, 0, prefix), tokens}, -2);
}

at::Tensor adapt_position_embedding(const at::Tensor& loaded, const at::Tensor& own,
                                    std::int64_t prefix, PositionResize mode) {
  if (loaded.dim() != own.dim() || loaded.dim() < 2 || loaded.size(-1) != own.size(-1)) return {};
  if (loaded.dim() == 3 && (loaded.size(0) != 1 || own.size(0) != 1)) return {};
  const std::int64_t theirs = loaded.size(-2) - prefix, ours = own.size(-2) - prefix;
  if (loaded.dim() > 3 || theirs < 1 || ours < 1) return {};
  const std::int64_t side = square_side(ours);
  if (side == 0 || square_side(theirs) == 0) return {};
  // Not in half precision, for which there is no such resizing on a CPU.
  const at::Tensor wide = loaded.scalar_type() == at::kDouble ? loaded : loaded.to(at::kFloat);
  return resize_position_embedding(wide, prefix, side, side, mode);
}

}  // namespace strata::nn
