// Backbones turn images into feature levels, by default four at strides 4, 8, 16, 32.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "framework/model/features.hpp"
#include "framework/model/spec.hpp"
#include "registry/component.hpp"

namespace strata {

/// A backbone `B` with options `O` also has `static FeatureSpec output(const O&, const FeatureSpec&
/// image)`: what it gives for images of so many channels. Throws OptionError for a bad option.
class STRATA_API Backbone : public torch::nn::Module {
 public:
  static constexpr const char* kind = "backbone";
  struct Context {
    FeatureSpec input;  // FeatureSpec::image(channels)
  };
  struct Statics {
    FeatureSpec (*output)(const void* options, const FeatureSpec& input);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, const FeatureSpec& input) {
      return Component::output(*static_cast<const Options*>(options), input);
    }};
  }

  /// images: [N, C, H, W] float, normalised -> the levels of output().
  virtual Features forward(const at::Tensor& images) = 0;

  /// What counts as one layer to `optimizer.layer_decay`, from the images on: lists of dotted paths
  /// in this backbone, of modules ("layer1.0") or parameters. Each parameter is in exactly one.
  /// By default every child is a layer, in the order of registration.
  using Layers = std::vector<std::vector<std::string>>;
  virtual Layers layers() const;
};

}  // namespace strata
