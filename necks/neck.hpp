// Necks turn features into features: per date (FPN), or several dates into one (SiameseFusion).
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <string>

#include "framework/model/features.hpp"
#include "framework/model/spec.hpp"
#include "registry/component.hpp"

namespace strata {

/// A neck `N` with options `O` also has `static FeatureSpec output(const O&, const FeatureSpec&)`,
/// which throws OptionError when the features do not fit, and one that uses an extra of the
/// features (beside handing it on) has `static bool reads(const O&, const FeatureSpec&, const
/// std::string& extra)`: a model leaves out what nobody reads.
class STRATA_API Neck : public torch::nn::Module {
 public:
  static constexpr const char* kind = "neck";
  struct Context {
    FeatureSpec input;
  };
  struct Statics {
    FeatureSpec (*output)(const void* options, const FeatureSpec& input);
    bool (*reads)(const void* options, const FeatureSpec& input, const std::string& extra);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, const FeatureSpec& input) {
              return Component::output(*static_cast<const Options*>(options), input);
            },
            [](const void* options, const FeatureSpec& input, const std::string& extra) {
              const auto& own = *static_cast<const Options*>(options);
              if constexpr (requires { Component::reads(own, input, extra); }) {
                return Component::reads(own, input, extra);
              } else {
                return false;
              }
            }};
  }

  virtual DateFeatures forward(const DateFeatures& features) = 0;
};

/// What fused features keep of what was said of each date: the extra "text" of date 1 is "text.1".
STRATA_API std::map<std::string, std::int64_t> extras_of_dates(const FeatureSpec& input);
STRATA_API std::map<std::string, at::Tensor> extras_of_dates(const DateFeatures& features);

}  // namespace strata
