#include "framework/nn/joined_conv.hpp"

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_linear1d.h>

#include "framework/nn/resize.hpp"

namespace strata::nn {
namespace {

/// What each tap of a kernel sees of a line of `from` values enlarged to `size`, zero outside:
/// [tap][size, from].
std::vector<at::Tensor> seen_by_taps(std::int64_t from, std::int64_t size, std::int64_t taps,
                                     std::int64_t dilation, bool align_corners,
                                     const at::TensorOptions& options) {
  const at::Tensor each = at::eye(from, options.dtype(at::kDouble)).unsqueeze(0);
  const at::Tensor enlarged = at::upsample_linear1d(each, {size}, align_corners)[0].t();
  const std::int64_t padding = dilation * (taps - 1) / 2;
  const at::Tensor padded = at::constant_pad_nd(enlarged.to(options), {0, 0, padding, padding});
  std::vector<at::Tensor> seen;
  for (std::int64_t t = 0; t < taps; ++t) seen.push_back(padded.narrow(0, t * dilation, size));
  return seen;
}

/// Whether multiplying at the map's own size and enlarging the products takes fewer multiply-adds,
/// a channel of the result, than enlarging the map and multiplying then.
bool cheaper_at_own_size(const at::Tensor& map, std::int64_t height, std::int64_t width, std::int64_t taps) {
  const std::int64_t h = map.size(2), w = map.size(3), kernel = taps * taps * map.size(1);
  const std::int64_t enlarging = taps * taps * h * w * width + taps * h * width * height;
  return kernel * h * w + enlarging < kernel * height * width;
}

}  // namespace

at::Tensor joined_conv(const std::vector<at::Tensor>& maps, const at::Tensor& weight,
                       const at::Tensor& bias, std::int64_t dilation, bool align_corners) {
  const std::int64_t n = maps.front().size(0), height = maps.front().size(2),
                     width = maps.front().size(3), taps = weight.size(2), out = weight.size(0);
  std::vector<std::int64_t> channels;
  for (const at::Tensor& map : maps) channels.push_back(map.size(1));
  const std::vector<at::Tensor> weights = weight.split_with_sizes(channels, 1);

  std::vector<at::Tensor> fine, fine_weights, rows, row_taps;
  for (std::size_t i = 0; i < maps.size(); ++i) {
    if (i == 0 || !cheaper_at_own_size(maps[i], height, width, taps)) {
      fine.push_back(resize(maps[i], height, width, ResizeMode::bilinear, align_corners));
      fine_weights.push_back(weights[i]);
      continue;
    }
    const std::int64_t h = maps[i].size(2), w = maps[i].size(3);
    const at::TensorOptions options = maps[i].options();
    const at::Tensor pixels = maps[i].permute({0, 2, 3, 1});  // [n, h, w, C_i]
    const at::Tensor columns =
        at::stack(seen_by_taps(w, width, taps, dilation, align_corners, options), 2)
            .view({1, width, w * taps})
            .expand({n * h, -1, -1});
    // One line of the kernel after the other: products [n, h, w, tap, out], then along the row.
    for (const at::Tensor& line : weights[i].permute({2, 3, 0, 1}).contiguous().unbind(0)) {
      const at::Tensor products = at::linear(pixels, line.reshape({taps * out, channels[i]}));
      rows.push_back(
          at::bmm(columns, products.reshape({n * h, w * taps, out})).view({n, h, width * out}));
    }
    for (const at::Tensor& seen : seen_by_taps(h, height, taps, dilation, align_corners, options)) {
      row_taps.push_back(seen);
    }
  }
  const at::Tensor fine_map = fine.size() == 1 ? fine.front() : at::cat(fine, 1);
  at::Tensor result = at::conv2d(fine_map.contiguous(at::MemoryFormat::ChannelsLast),
                                 fine.size() == 1 ? fine_weights.front() : at::cat(fine_weights, 1),
                                 bias, 1, dilation * (taps - 1) / 2, dilation);
  if (rows.empty()) return result;
  const at::Tensor coarse =
      at::bmm(at::cat(row_taps, 1).unsqueeze(0).expand({n, -1, -1}), at::cat(rows, 1));
  return result.add_(coarse.view({n, height, width, out}).permute({0, 3, 1, 2}));
}

}  // namespace strata::nn
