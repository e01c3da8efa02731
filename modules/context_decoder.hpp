// Context decoders look at an image with the eyes of its texts (DenseCLIP, Rao et al., CVPR 2022).
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>

#include "framework/base/export.hpp"
#include "registry/component.hpp"

namespace strata {

/// A context decoder `D` with options `O` also has `static void check(const O&, const
/// ContextDecoder::Context&)`, which throws OptionError when it cannot be built there.
class STRATA_API ContextDecoder : public torch::nn::Module {
 public:
  static constexpr const char* kind = "context_decoder";
  struct Context {
    std::int64_t width = 0;  // of text and image features alike
  };
  struct Statics {
    void (*check)(const void* options, const Context& context);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, const Context& context) {
      Component::check(*static_cast<const Options*>(options), context);
    }};
  }

  /// Texts [N, K, width] and image tokens [N, L, width] -> what to add to the texts [N, K, width].
  virtual at::Tensor forward(const at::Tensor& text, const at::Tensor& visual) = 0;
};

}  // namespace strata
