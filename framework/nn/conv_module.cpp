#include "framework/nn/conv_module.hpp"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>

#include <array>
#include <functional>
#include <optional>
#include <string_view>
#include <variant>

#include "framework/nn/init.hpp"
#include "framework/nn/joined_conv.hpp"
#include "framework/ops/batch_norm_act.hpp"
#include "framework/ops/winograd_conv.hpp"

namespace strata::nn {
namespace {

/// Whether norm(conv(x)) can be computed as one convolution now. No gradient may ask for the parts:
/// there is none in evaluation, nor in a frozen tower behind nothing that learns.
bool can_fold(const at::Tensor& weight, const at::Tensor& bias, const Norm& norm,
              const at::Tensor& x) {
  const auto* layer = norm.batch_norm();
  if (layer == nullptr || layer->is_training()) return false;
  const bool learns = x.requires_grad() || weight.requires_grad() ||
                      (bias.defined() && bias.requires_grad()) || layer->weight.requires_grad() ||
                      layer->bias.requires_grad();
  return !(learns && at::GradMode::is_enabled()) && x.is_cpu() && x.dim() == 4 &&
         x.scalar_type() == weight.scalar_type() &&
         layer->weight.scalar_type() == x.scalar_type() && layer->running_mean.defined();
}

/// Folding passes over the weights and saves a pass over the result: kept, it always pays; done
/// anew in each call, where a kernel has no more values than a channel of the result.
bool pays(const at::Tensor& weight, std::int64_t pixels) {
  return FoldCache::current() != nullptr || weight.numel() <= pixels * weight.size(0);
}

FoldCache::Folded fold(const at::Tensor& weight, const at::Tensor& bias,
                       const torch::nn::BatchNorm2dImpl& layer) {
  // In float64: the weights' own rounding is then the only one that folding adds.
  const at::Tensor scale =
      (layer.running_var.to(at::kDouble) + layer.options.eps()).rsqrt_().mul_(layer.weight);
  at::Tensor shift = layer.bias.to(at::kDouble).addcmul(layer.running_mean, scale, -1);
  if (bias.defined()) shift.addcmul_(bias, scale);
  std::vector<std::int64_t> by_channel(static_cast<std::size_t>(weight.dim()), 1);
  by_channel.front() = -1;
  const at::ScalarType type = weight.scalar_type();
  return {weight * scale.to(type).view(by_channel), shift.to(type)};
}

using Form = FoldCache::Form;
using Lay = std::function<at::Tensor(const at::Tensor&)>;

/// nullopt unless norm(conv(x)) can be one convolution and that pays, with `pixels` of the result.
/// `lay` brings the weight into another form.
std::optional<FoldCache::Folded> folded(const at::Tensor& weight, const at::Tensor& bias,
                                        const Norm& norm, const at::Tensor& x, std::int64_t pixels,
                                        Form form = Form::plain, const Lay& lay = {}) {
  if (!can_fold(weight, bias, norm, x) || !pays(weight, pixels)) return std::nullopt;
  const auto& layer = *norm.batch_norm();
  const auto make = [&] {
    FoldCache::Folded both = fold(weight, bias, layer);
    if (lay) both.weight = lay(both.weight);
    return both;
  };
  // Unless a served model has a cache, nothing is kept, so nothing can be out of date.
  FoldCache* cache = FoldCache::current();
  if (cache == nullptr) return make();
  return cache->get(weight.unsafeGetTensorImpl(), &layer, form, make);
}

bool plain_padding(const torch::nn::Conv2d& conv) {
  return std::holds_alternative<torch::enumtype::kZeros>(conv->options.padding_mode()) &&
         std::holds_alternative<torch::ExpandingArray<2>>(conv->options.padding());
}

/// Whether ops::winograd_conv computes this layer's convolution of x, and faster.
bool by_winograd(const torch::nn::Conv2d& conv, const at::Tensor& x) {
  const auto& options = conv->options;
  const auto is = [](const torch::ExpandingArray<2>& pair, std::int64_t value) {
    return pair->at(0) == value && pair->at(1) == value;
  };
  const auto* padding = std::get_if<torch::ExpandingArray<2>>(&options.padding());
  return is(options.kernel_size(), 3) && is(options.stride(), 1) && is(options.dilation(), 1) &&
         options.groups() == 1 && padding != nullptr && is(*padding, 1) &&
         std::holds_alternative<torch::enumtype::kZeros>(options.padding_mode()) &&
         !at::autocast::is_autocast_enabled(at::kCPU) && ops::winograd_pays(x, conv->weight);
}

/// oneDNN's convolution with an activation at its end, which LibTorch has for its compiler.
using FusedConv = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                             at::IntArrayRef, at::IntArrayRef, at::IntArrayRef, std::int64_t,
                             std::string_view, c10::List<std::optional<at::Scalar>>,
                             std::optional<std::string_view>);
using PackWeight = at::Tensor(const at::Tensor&, at::IntArrayRef, at::IntArrayRef, at::IntArrayRef,
                              std::int64_t, at::OptionalIntArrayRef);

/// An operator of LibTorch's that has no C++ name; nothing where this LibTorch lacks it.
template <class Signature>
std::optional<c10::TypedOperatorHandle<Signature>> find_operator(const char* name) {
  const auto found = c10::Dispatcher::singleton().findSchema({name, ""});
  if (!found || !found->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  return found->typed<Signature>();
}

/// The folded convolution of a channels-last map with its ReLU in one pass over the result, the
/// weight kept as oneDNN wants it where there is a cache; undefined where that cannot be.
at::Tensor fused(const torch::nn::Conv2d& conv, const Norm& norm, bool relu, const at::Tensor& x,
                 std::int64_t pixels) {
  static const auto run = find_operator<FusedConv>("mkldnn::_convolution_pointwise");
  static const auto pack = find_operator<PackWeight>("mkldnn::_reorder_convolution_weight");
  const bool caches = FoldCache::current() != nullptr;
  if (!run || !pack || (!caches && !relu) || x.scalar_type() != at::kFloat || x.is_contiguous() ||
      !x.is_contiguous(at::MemoryFormat::ChannelsLast) ||
      at::autocast::is_autocast_enabled(at::kCPU) || !at::globalContext().userEnabledMkldnn()) {
    return {};
  }
  const auto& options = conv->options;
  if (by_winograd(conv, x)) {
    const auto both = folded(conv->weight, conv->bias, norm, x, pixels, Form::winograd,
                             ops::winograd_weight);
    return both ? ops::winograd_conv_transformed(x, both->weight, both->bias, relu) : at::Tensor();
  }
  const auto& padding = *std::get<torch::ExpandingArray<2>>(options.padding());
  const auto &stride = *options.stride(), &dilation = *options.dilation();
  const auto packed = [&](const at::Tensor& weight) {
    return pack->call(weight, padding, stride, dilation, options.groups(), x.sizes());
  };
  const auto both = folded(conv->weight, conv->bias, norm, x, pixels, Form::packed,
                           caches ? Lay(packed) : Lay());
  if (!both) return {};
  return run->call(x, both->weight, both->bias, padding, stride, dilation, options.groups(),
                   relu ? "relu" : "none", c10::List<std::optional<at::Scalar>>(), "");
}

/// LibTorch 2.11's oneDNN writes outside of its memory when a 1x1 convolution of fewer than 16
/// channels with a stride learns (AVX-512, several threads). Leaving out first what such a
/// convolution skips is the same.
at::Tensor convolve_what_is_seen(const torch::nn::Conv2d& conv, const at::Tensor& x) {
  constexpr std::int64_t kBlock = 16;
  const auto& options = conv->options;
  const auto& stride = *options.stride();
  const bool skips = options.kernel_size()->at(0) == 1 && options.kernel_size()->at(1) == 1 &&
                     (stride[0] > 1 || stride[1] > 1);
  const auto* padding = std::get_if<torch::ExpandingArray<2>>(&options.padding());
  const bool unpadded = padding != nullptr && (*padding)->at(0) == 0 && (*padding)->at(1) == 0;
  if (!skips || !unpadded || options.in_channels() >= kBlock) return conv.ptr()->forward(x);
  const at::Tensor seen = x.slice(2, std::nullopt, std::nullopt, stride[0])
                              .slice(3, std::nullopt, std::nullopt, stride[1]);
  constexpr std::array<std::int64_t, 2> kOne = {1, 1}, kNone = {0, 0};
  return at::conv2d(seen, conv->weight, conv->bias, kOne, kNone, kOne, options.groups());
}

}  // namespace

at::Tensor convolved(const torch::nn::Conv2d& conv, const at::Tensor& x) {
  if (by_winograd(conv, x)) return ops::winograd_conv(x, conv->weight, conv->bias);
  return convolve_what_is_seen(conv, x);
}

ConvModuleImpl::ConvModuleImpl(const ConvModuleOptions& options)
    : norm_(options.out_channels, options.norm), activation_(options.activation) {
  const auto padding = options.padding.value_or(options.dilation * (options.kernel - 1) / 2);
  conv_ = register_module(
      "conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(options.in_channels, options.out_channels,
                                                         options.kernel)
                                    .stride(options.stride)
                                    .padding(padding)
                                    .dilation(options.dilation)
                                    .groups(options.groups)
                                    .bias(options.bias.value_or(!norm_))));
  if (norm_) register_module(norm_.short_name(), norm_.module());
  kaiming_normal_(conv_->weight);
  if (conv_->bias.defined()) constant_(conv_->bias, 0);
}

at::Tensor ConvModuleImpl::forward(const at::Tensor& x) {
  return conv_norm_act(conv_, norm_, activation_, x);
}

at::Tensor ConvModuleImpl::forward_joined(const std::vector<at::Tensor>& maps, bool align_corners) {
  const std::int64_t dilation = conv_->options.dilation()->front();
  return conv_norm_act(conv_, norm_, activation_, maps.front(),
                       [&](const at::Tensor& weight, const at::Tensor& bias) {
                         return joined_conv(maps, weight, bias, dilation, align_corners);
                       });
}

at::Tensor norm_act(at::Tensor y, const Norm& norm, const Activation& activation,
                    const at::Tensor& residual) {
  const bool relu = activation.kind == Activation::Kind::relu;
  if (const auto* layer = norm.batch_norm(); layer != nullptr && layer->is_training()) {
    const ops::BatchNormState state{layer->weight,
                                    layer->bias,
                                    layer->running_mean,
                                    layer->running_var,
                                    layer->options.momentum().value_or(0),
                                    layer->options.eps()};
    if (layer->options.momentum() && ops::can_batch_norm_act(y, state)) {
      layer->num_batches_tracked.add_(1);
      y = ops::batch_norm_act(y, state, relu, residual);
      return relu ? y : activate_(std::move(y), activation);
    }
  }
  y = norm(y);
  // The layers before keep their inputs and statistics for backward, never their outputs.
  if (residual.defined()) y.add_(residual);
  return activate_(std::move(y), activation);
}

std::optional<FoldCache::Folded> fold_norm(const at::Tensor& weight, const at::Tensor& bias,
                                           const Norm& norm, const at::Tensor& x) {
  return folded(weight, bias, norm, x, x.size(0) * x.size(2) * x.size(3));
}

at::Tensor conv_norm_act(const torch::nn::Conv2d& conv, const Norm& norm,
                         const Activation& activation, const at::Tensor& x,
                         const at::Tensor& residual) {
  const auto& options = conv->options;
  const auto& stride = *options.stride();
  const std::int64_t pixels = x.size(0) * (x.size(2) / stride[0]) * (x.size(3) / stride[1]);
  const bool relu = activation.kind == Activation::Kind::relu && !residual.defined();
  at::Tensor y;
  if (plain_padding(conv)) y = fused(conv, norm, relu, x, pixels);
  if (y.defined() && relu) return y;
  if (!y.defined()) {
    const auto both = plain_padding(conv) ? folded(conv->weight, conv->bias, norm, x, pixels)
                                          : std::nullopt;
    if (!both) return norm_act(convolved(conv, x), norm, activation, residual);
    const auto& padding = std::get<torch::ExpandingArray<2>>(options.padding());
    y = at::conv2d(x, both->weight, both->bias, stride, *padding, *options.dilation(),
                   options.groups());
  }
  if (residual.defined()) y.add_(residual);
  return activate_(std::move(y), activation);
}

at::Tensor conv_norm_act(const torch::nn::Conv2d& conv, const Norm& norm,
                         const Activation& activation, const at::Tensor& like,
                         const Convolve& convolve) {
  const auto both = plain_padding(conv) ? fold_norm(conv->weight, conv->bias, norm, like)
                                        : std::nullopt;
  if (!both) return norm_act(convolve(conv->weight, conv->bias), norm, activation);
  return activate_(convolve(both->weight, both->bias), activation);
}

}  // namespace strata::nn
