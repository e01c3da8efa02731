// Small holders from which components build modules under the child names that checkpoints use.
#pragma once

#include <torch/nn/modules/conv.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/nn/activation.hpp"
#include "framework/nn/norm.hpp"

namespace strata::nn {

/// Children named "0", "1", … of one type. An entry may be missing (nullptr): it takes a number and
/// registers nothing, like None in a Python list of modules.
template <class Layer>
class LayerList final : public torch::nn::Module {
 public:
  /// Appends and returns the layer.
  Layer& add(std::shared_ptr<Layer> layer) {
    if (layer) register_module(std::to_string(layers_.size()), layer);
    layers_.push_back(std::move(layer));
    return *layers_.back();
  }
  void skip() { layers_.push_back(nullptr); }

  std::size_t size() const { return layers_.size(); }
  /// nullptr where an entry is missing.
  Layer* operator[](std::size_t i) const { return layers_[i].get(); }
  /// All layers in order; none may be missing.
  at::Tensor forward(at::Tensor x) const {
    for (const auto& layer : layers_) x = layer->forward(x);
    return x;
  }

 private:
  std::vector<std::shared_ptr<Layer>> layers_;
};

struct ConvOptions {
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = false;
};

/// A square convolution with LibTorch's default initial values.
inline torch::nn::Conv2d conv2d(std::int64_t in, std::int64_t out, std::int64_t kernel,
                                const ConvOptions& options = {}) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel)
                               .stride(options.stride)
                               .padding(options.padding)
                               .dilation(options.dilation)
                               .groups(options.groups)
                               .bias(options.bias));
}

/// Convolution and normalisation under the names "<first>" and "<first + 1>", as inside a Python
/// Sequential. The convolution has no bias and Kaiming's initial values.
class STRATA_API ConvNorm final : public torch::nn::Module {
 public:
  ConvNorm(torch::nn::Conv2d conv, const NormOptions& norm,
           const Activation& activation = Activation::none(), int first = 0);
  at::Tensor forward(const at::Tensor& x) const;
  /// forward(coarse enlarged to the size of `skip`, or twice without one, joined with it), for a 3x3
  /// convolution of stride 1 and padding 1 (upsampled_conv).
  at::Tensor forward_upsampled(const at::Tensor& coarse, const at::Tensor& skip) const;
  /// norm(conv(x)) + residual, then a ReLU on request, instead of this layer's own activation.
  at::Tensor forward_add(const at::Tensor& x, const at::Tensor& residual, bool relu) const;

 private:
  torch::nn::Conv2d conv_;
  Norm norm_;
  Activation activation_;
};

/// Marks parameters that exist for the sake of checkpoints but never reach the output: they ask for
/// no gradient, so that optimizers and gradient reduction leave them alone.
STRATA_API void set_unused(torch::nn::Module& module);

/// Puts every batch norm of `module` in evaluation mode, whatever the module's own mode is: the
/// running statistics are used and kept, scale and shift still learn (mmseg's norm_eval).
STRATA_API void fix_batch_norm_statistics(torch::nn::Module& module);

}  // namespace strata::nn
