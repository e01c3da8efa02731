// Backbones turn images into feature levels, by default four at strides 4, 8, 16, 32.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
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

  /// Images [D * N, C, H, W] of D dates, the N of one after those of another -> the features of each
  /// date. While training, batch norm takes its statistics date by date, or over all of them at
  /// once when `joint`.
  virtual DateFeatures forward_dates(const at::Tensor& images, std::int64_t dates, bool joint);

  /// What counts as one layer to `optimizer.layer_decay`, from the images on: lists of dotted paths
  /// in this backbone, of modules ("layer1.0") or parameters. Each parameter is in exactly one.
  /// By default every child is a layer, in the order of registration.
  using Layers = std::vector<std::vector<std::string>>;
  virtual Layers layers() const;
};

/// A backbone of a pretrained trunk and something new on it, such as a pyramid. Who freezes the
/// trunk runs it without a graph, and trains the rest.
class STRATA_API TrunkBackbone : public Backbone {
 public:
  /// What the trunk gives for images: maps for finish(), at whatever strides, and the extras.
  virtual Features trunk(const at::Tensor& images) = 0;
  /// From there to the levels of output(), for images of `height` x `width`.
  virtual Features finish(Features trunk, std::int64_t height, std::int64_t width) = 0;
  Features forward(const at::Tensor& images) override {
    return finish(trunk(images), images.size(2), images.size(3));
  }
  /// The children that finish() uses and trunk() does not ("fpn1").
  virtual std::vector<std::string> new_parts() const { return {}; }
};

/// Features of D dates as one batch, taken apart again.
STRATA_API DateFeatures split_dates(const Features& all, std::int64_t dates);

}  // namespace strata
