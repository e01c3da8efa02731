// Heads turn features into predictions of one declared target and know how to train them.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "framework/model/batch.hpp"
#include "framework/model/features.hpp"
#include "framework/model/model.hpp"
#include "registry/component.hpp"

namespace strata {

/// The interface. Dense heads derive from DenseHead (heads/dense_head.hpp).
/// A head `H` with options `O` also has `static void check(const O&, const Head::Context&)`, which
/// throws OptionError when it cannot be built there, and may have `static bool per_date(const O&,
/// const LabelSpecs&)`: whether it takes the features of each date (it describes dates) instead of
/// the fused ones (it describes what changed, the default), `static std::vector<std::string>
/// targets(const O&, const LabelSpecs&)`: the labels that it predicts (none by default). One that
/// uses an extra of the features has `static bool reads(const O&, const FeatureSpec&, const
/// std::string& extra)`, as necks have.
class STRATA_API Head : public torch::nn::Module {
 public:
  static constexpr const char* kind = "head";
  struct Context {
    FeatureSpec input;
    LabelSpecs labels;
    bool auxiliary = false;
  };
  struct Statics {
    void (*check)(const void* options, const Context& context);
    bool (*per_date)(const void* options, const LabelSpecs& labels);
    bool (*reads)(const void* options, const FeatureSpec& input, const std::string& extra);
    std::vector<std::string> (*targets)(const void* options, const LabelSpecs& labels);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, const Context& context) {
              Component::check(*static_cast<const Options*>(options), context);
            },
            [](const void* options, const LabelSpecs& labels) {
              const auto& own = *static_cast<const Options*>(options);
              if constexpr (requires { Component::per_date(own, labels); }) {
                return Component::per_date(own, labels);
              } else {
                return false;
              }
            },
            [](const void* options, const FeatureSpec& input, const std::string& extra) {
              const auto& own = *static_cast<const Options*>(options);
              if constexpr (requires { Component::reads(own, input, extra); }) {
                return Component::reads(own, input, extra);
              } else {
                return false;
              }
            },
            [](const void* options, const LabelSpecs& labels) {
              const auto& own = *static_cast<const Options*>(options);
              if constexpr (requires { Component::targets(own, labels); }) {
                return Component::targets(own, labels);
              } else {
                return std::vector<std::string>{};
              }
            }};
  }

  /// Raw named tensors before any resizing ("logits": [N, C, h, w]).
  virtual TensorMap forward(const DateFeatures& features) = 0;
  /// Adds weighted terms, named "<slot>.<term>", and logged values.
  virtual void loss(const TensorMap& raw, const Batch& batch, const std::string& slot,
                    TrainContext& context, Losses& losses) = 0;
  /// Adds results at `height` x `width`.
  virtual void predict(const TensorMap& raw, std::int64_t height, std::int64_t width,
                       Outputs& outputs) = 0;
};

}  // namespace strata
