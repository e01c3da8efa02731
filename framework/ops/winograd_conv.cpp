#include "framework/ops/winograd_conv.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>

#include "framework/ops/winograd_conv_cpu.hpp"

namespace strata::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

constexpr std::int64_t kChunkBytes = 48 << 20;  // of transformed tiles at a time

at::Tensor channels_together(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

/// [C', C, 3, 3] channels-last -> [16, C', C]
at::Tensor transform_weight(const at::Tensor& weight, bool turned) {
  const at::Tensor w = channels_together(weight);
  const std::int64_t out = w.size(0), in = w.size(1);
  at::Tensor u = at::empty({16, out, in}, w.options().memory_format(at::MemoryFormat::Contiguous));
  AT_DISPATCH_FLOATING_TYPES(w.scalar_type(), "winograd_weight", [&] {
    const scalar_t* from = w.const_data_ptr<scalar_t>();
    scalar_t* to = u.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, out, 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        cpu::winograd_kernel(from + o * 9 * in, in, turned, out * in, to + o * in);
      }
    });
  });
  return u;
}

/// Rows of tiles over all images, in chunks whose transforms fit the caches: body(first row, rows,
/// tiles).
template <class Body>
void for_chunks(const cpu::TiledMap& map, std::int64_t images, std::int64_t channels,
                std::int64_t value_bytes, const Body& body) {
  const std::int64_t rows = images * map.tile_rows(), columns = map.tile_columns();
  const std::int64_t most =
      std::max<std::int64_t>(1, kChunkBytes / (16 * columns * channels * value_bytes));
  const std::int64_t chunks = (rows + most - 1) / most, each = (rows + chunks - 1) / chunks;
  for (std::int64_t row = 0; row < rows; row += each) {
    const std::int64_t count = std::min(each, rows - row);
    body(row, count, count * columns);
  }
}

cpu::TiledMap tiled(const at::Tensor& x) { return {x.size(2), x.size(3), x.size(1)}; }

/// `u` is [16, C, C'], or the view of [16, C', C] that is.
at::Tensor convolve(const at::Tensor& input, const at::Tensor& u, const at::Tensor& bias,
                    bool relu) {
  const at::Tensor x = channels_together(input);
  const std::int64_t n = x.size(0), in = u.size(1), out = u.size(2);
  at::Tensor y = at::empty({n, out, x.size(2), x.size(3)},
                           x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const cpu::TiledMap from = tiled(x), to = tiled(y);
  const at::TensorOptions plain = x.options().memory_format(at::MemoryFormat::Contiguous);
  at::Tensor v, m;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "winograd_conv", [&] {
    const scalar_t* b = bias.defined() ? bias.const_data_ptr<scalar_t>() : nullptr;
    for_chunks(from, n, in + out, sizeof(scalar_t),
               [&](std::int64_t first, std::int64_t rows, std::int64_t tiles) {
      if (!v.defined()) {
        v = at::empty({16 * tiles * in}, plain);
        m = at::empty({16 * tiles * out}, plain);
      }
      at::Tensor vs = v.narrow(0, 0, 16 * tiles * in).view({16, tiles, in});
      at::Tensor ms = m.narrow(0, 0, 16 * tiles * out).view({16, tiles, out});
      at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          cpu::winograd_input(from, x.const_data_ptr<scalar_t>(), first + r, tiles * in,
                              vs.mutable_data_ptr<scalar_t>() + r * from.tile_columns() * in);
        }
      });
      at::bmm_out(ms, vs, u);
      at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          cpu::winograd_output(to, ms.const_data_ptr<scalar_t>() + r * to.tile_columns() * out,
                               first + r, tiles * out, b, relu, y.mutable_data_ptr<scalar_t>());
        }
      });
    });
  });
  return y;
}

at::Tensor weight_gradient(const at::Tensor& input, const at::Tensor& dy) {
  const at::Tensor x = channels_together(input);
  const std::int64_t n = x.size(0), in = x.size(1), out = dy.size(1);
  const cpu::TiledMap from = tiled(x), to = tiled(dy);
  const at::TensorOptions plain = x.options().memory_format(at::MemoryFormat::Contiguous);
  at::Tensor du = at::zeros({16, out, in}, plain);
  at::Tensor dw =
      at::empty({out, in, 3, 3}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
  at::Tensor v, m;
  AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "winograd_conv", [&] {
    for_chunks(from, n, in + out, sizeof(scalar_t),
               [&](std::int64_t first, std::int64_t rows, std::int64_t tiles) {
      if (!v.defined()) {
        v = at::empty({16 * tiles * in}, plain);
        m = at::empty({16 * tiles * out}, plain);
      }
      at::Tensor vs = v.narrow(0, 0, 16 * tiles * in).view({16, tiles, in});
      at::Tensor ms = m.narrow(0, 0, 16 * tiles * out).view({16, tiles, out});
      at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t r = begin; r < end; ++r) {
          cpu::winograd_input(from, x.const_data_ptr<scalar_t>(), first + r, tiles * in,
                              vs.mutable_data_ptr<scalar_t>() + r * from.tile_columns() * in);
          cpu::winograd_output_gradient(
              to, dy.const_data_ptr<scalar_t>(), first + r, tiles * out,
              ms.mutable_data_ptr<scalar_t>() + r * to.tile_columns() * out);
        }
      });
      du.baddbmm_(ms.transpose(1, 2), vs);
    });
    at::parallel_for(0, out, 8, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        cpu::winograd_kernel_gradient(du.const_data_ptr<scalar_t>() + o * in, in, out * in,
                                      dw.mutable_data_ptr<scalar_t>() + o * 9 * in);
      }
    });
  });
  return dw;
}

struct WinogradConv : torch::autograd::Function<WinogradConv> {
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& weight,
                          const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["bias"] = bias.has_value();
    return convolve(x, transform_weight(weight, false).transpose(1, 2),
                    bias ? bias->contiguous() : at::Tensor(), false);
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "winograd_conv has first derivatives only; it was differentiated twice");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = channels_together(outputs[0]);
    variable_list grads(3);
    // The gradient of a map is a convolution with the kernels turned.
    if (context->needs_input_grad(0)) {
      grads[0] = convolve(dy, transform_weight(saved[1], true), {}, false);
    }
    if (context->needs_input_grad(1)) grads[1] = weight_gradient(saved[0], dy);
    if (context->saved_data["bias"].toBool() && context->needs_input_grad(2)) {
      grads[2] = dy.sum(at::IntArrayRef{0, 2, 3});
    }
    return grads;
  }
};

}  // namespace

bool winograd_pays(const at::Tensor& x, const at::Tensor& weight) {
  constexpr std::int64_t kChannels = 128, kPixels = 2048;
  return x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat &&
         x.dim() == 4 && weight.size(0) >= kChannels && weight.size(1) >= kChannels &&
         x.size(0) * x.size(2) * x.size(3) >= kPixels &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
}

at::Tensor winograd_conv(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && weight.size(1) == x.size(1) &&
                  weight.size(2) == 3 && weight.size(3) == 3,
              "winograd_conv takes [N, C, H, W] and [C', C, 3, 3], got ", x.sizes(), " and ",
              weight.sizes());
  return WinogradConv::apply(x, weight,
                             bias.defined() ? std::optional<at::Tensor>(bias) : std::nullopt);
}

at::Tensor winograd_weight(const at::Tensor& weight) { return transform_weight(weight, false); }

at::Tensor winograd_conv_transformed(const at::Tensor& x, const at::Tensor& transformed,
                                     const at::Tensor& bias, bool relu) {
  return convolve(x, transformed.transpose(1, 2), bias, relu);
}

}  // namespace strata::ops
