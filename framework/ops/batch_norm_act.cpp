#include "framework/ops/batch_norm_act.hpp"

#include <ATen/Dispatch.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <optional>
#include <vector>

#include "framework/ops/batch_norm_act_cpu.hpp"

namespace strata::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

cpu::Rows rows_of(const at::Tensor& x) { return {x.numel() / x.size(1), x.size(1)}; }

at::Tensor as_channels_last(const at::Tensor& x) {
  return x.contiguous(at::MemoryFormat::ChannelsLast);
}

/// What a channel needs in both directions: y = x * scale + shift, in the tensor's type.
struct ChannelTerms {
  at::Tensor mean, scale, shift, inverse_std;  // [C], inverse_std in double
};

template <class T>
ChannelTerms normalise(const at::Tensor& x, const BatchNormState& state) {
  const cpu::Rows shape = rows_of(x);
  const auto channels = static_cast<std::size_t>(shape.channels);
  std::vector<double> mean(channels), squares(channels);
  cpu::batch_statistics(shape, x.const_data_ptr<T>(), mean.data(), squares.data());
  const at::TensorOptions options = x.options();
  const auto make = [&](at::ScalarType type) {
    return at::empty({x.size(1)}, options.dtype(type));
  };
  const at::ScalarType type = x.scalar_type();
  ChannelTerms terms{make(type), make(type), make(type), make(at::kDouble)};
  const T* weight = state.weight.const_data_ptr<T>();
  const T* bias = state.bias.const_data_ptr<T>();
  T* running_mean = state.running_mean.mutable_data_ptr<T>();
  T* running_var = state.running_var.mutable_data_ptr<T>();
  const auto n = static_cast<double>(shape.rows);
  for (std::size_t c = 0; c < channels; ++c) {
    const double inverse_std = 1 / std::sqrt(squares[c] / n + state.eps);
    const double scale = static_cast<double>(weight[c]) * inverse_std;
    terms.mean.mutable_data_ptr<T>()[c] = static_cast<T>(mean[c]);
    terms.scale.mutable_data_ptr<T>()[c] = static_cast<T>(scale);
    terms.shift.mutable_data_ptr<T>()[c] = static_cast<T>(bias[c] - mean[c] * scale);
    terms.inverse_std.mutable_data_ptr<double>()[c] = inverse_std;
    const double m = state.momentum;
    running_mean[c] = static_cast<T>((1 - m) * running_mean[c] + m * mean[c]);
    running_var[c] = static_cast<T>((1 - m) * running_var[c] + m * squares[c] / (n - 1));
  }
  return terms;
}

struct Gradients {
  at::Tensor x, weight, bias, residual;
};

template <class T>
Gradients differentiate(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& y,
                        const ChannelTerms& terms, bool relu, bool with_residual) {
  const cpu::Rows shape = rows_of(x);
  const auto channels = static_cast<std::size_t>(shape.channels);
  const auto n = static_cast<double>(shape.rows);
  Gradients grads;
  if (with_residual) grads.residual = relu ? at::empty_like(x) : dy;
  const bool by_output = relu && with_residual;
  const T* mean = terms.mean.const_data_ptr<T>();
  const T* scale = terms.scale.const_data_ptr<T>();
  const T* shift = terms.shift.const_data_ptr<T>();
  std::vector<double> sum(channels), dot(channels);
  cpu::gradient_sums(shape, dy.const_data_ptr<T>(), x.const_data_ptr<T>(),
                     by_output ? y.const_data_ptr<T>() : nullptr, mean, scale, shift, relu,
                     by_output ? grads.residual.mutable_data_ptr<T>() : nullptr, sum.data(),
                     dot.data());
  grads.weight = at::empty_like(terms.mean);
  grads.bias = at::empty_like(terms.mean);
  std::vector<T> average(channels), slope(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    const double inverse_std = terms.inverse_std.const_data_ptr<double>()[c];
    grads.weight.mutable_data_ptr<T>()[c] = static_cast<T>(dot[c] * inverse_std);
    grads.bias.mutable_data_ptr<T>()[c] = static_cast<T>(sum[c]);
    average[c] = static_cast<T>(sum[c] / n);
    slope[c] = static_cast<T>(dot[c] * inverse_std * inverse_std / n);
  }
  grads.x = at::empty_like(x);
  const at::Tensor& g = by_output ? grads.residual : dy;
  cpu::input_gradient(shape, g.const_data_ptr<T>(), x.const_data_ptr<T>(), mean, average.data(),
                      slope.data(), scale, shift, relu && !by_output,
                      grads.x.mutable_data_ptr<T>());
  return grads;
}

struct BatchNormAct : torch::autograd::Function<BatchNormAct> {
  // Weight and bias are arguments beside the state because gradients go to arguments.
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& /*weight*/,
                          const Variable& /*bias*/, const std::optional<at::Tensor>& residual,
                          const BatchNormState* state, bool relu) {
    const at::Tensor added = residual ? as_channels_last(*residual) : at::Tensor();
    at::Tensor y = at::empty_like(x);
    ChannelTerms terms;
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "batch_norm_act", [&] {
      terms = normalise<scalar_t>(x, *state);
      cpu::scale_shift(rows_of(x), x.const_data_ptr<scalar_t>(),
                       terms.scale.const_data_ptr<scalar_t>(),
                       terms.shift.const_data_ptr<scalar_t>(),
                       added.defined() ? added.const_data_ptr<scalar_t>() : nullptr, relu,
                       y.mutable_data_ptr<scalar_t>());
    });
    const bool by_output = relu && residual.has_value();
    context->save_for_backward(
        {x, by_output ? y : at::Tensor(), terms.mean, terms.scale, terms.shift, terms.inverse_std});
    context->saved_data["relu"] = relu;
    context->saved_data["residual"] = residual.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "batch_norm_act has first derivatives only; it was differentiated twice");
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const ChannelTerms terms{saved[2], saved[3], saved[4], saved[5]};
    const bool relu = context->saved_data["relu"].toBool();
    const bool residual = context->saved_data["residual"].toBool();
    const at::Tensor dy = as_channels_last(outputs[0]);
    Gradients grads;
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "batch_norm_act", [&] {
      grads = differentiate<scalar_t>(dy, x, saved[1], terms, relu, residual);
    });
    return {grads.x, grads.weight, grads.bias, grads.residual, Variable(), Variable()};
  }
};

}  // namespace

bool can_batch_norm_act(const at::Tensor& x, const BatchNormState& state) {
  const auto fits = [&](const at::Tensor& t) {
    return t.defined() && t.is_cpu() && t.scalar_type() == x.scalar_type() && t.is_contiguous();
  };
  // Planes of single values are both row-major and rows of channels.
  return x.dim() == 4 && x.is_cpu() && x.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         (!x.is_contiguous() || x.size(2) * x.size(3) == 1) &&
         (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble) &&
         x.numel() > x.size(1) && fits(state.weight) && fits(state.bias) &&
         fits(state.running_mean) && fits(state.running_var);
}

at::Tensor batch_norm_act(const at::Tensor& x, const BatchNormState& state, bool relu,
                          const at::Tensor& residual) {
  TORCH_CHECK(!residual.defined() || residual.sizes() == x.sizes(), "batch_norm_act: residual ",
              residual.sizes(), " does not have the shape of the input, ", x.sizes());
  const auto added = residual.defined() ? std::optional<at::Tensor>(residual) : std::nullopt;
  return BatchNormAct::apply(x, state.weight, state.bias, added, &state, relu);
}

}  // namespace strata::ops
