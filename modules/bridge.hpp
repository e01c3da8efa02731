// Bridges carry what a foundation model sees into a smaller network at its side, level by level.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include "framework/base/export.hpp"
#include "framework/model/spec.hpp"
#include "registry/component.hpp"

namespace strata {

/// A bridge `B` with options `O` also has `static void check(const O&, const Bridge::Context&)`,
/// which throws OptionError when it cannot be built there.
class STRATA_API Bridge : public torch::nn::Module {
 public:
  static constexpr const char* kind = "bridge";
  struct Context {
    FeatureLevel foundation;  // what is given
    FeatureLevel side;        // what it is added to
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

  /// foundation [N, C, h, w], side [N, C', h', w'] -> the fused map, of the shape of side.
  virtual at::Tensor forward(const at::Tensor& foundation, const at::Tensor& side) = 0;
};

}  // namespace strata
