// Necks turn features into features: per date (FPN), or several dates into one (SiameseFusion).
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

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

/// What each of several necks, one after the other, is given, and what the last one gives.
struct STRATA_API NeckPlan {
  std::vector<FeatureSpec> inputs;
  FeatureSpec output;
  /// The first neck that gives fewer dates than it is given; the number of necks without one.
  std::size_t fusing() const;
};
/// Throws ConfigError, located in the neck that does not fit.
STRATA_API NeckPlan plan_necks(const std::vector<Slot<Neck>>& slots, FeatureSpec input);
/// Built and registered in `owner` as "neck", several as "neck.0", "neck.1", ….
STRATA_API std::vector<std::shared_ptr<Neck>> add_necks(torch::nn::Module& owner,
                                                        const std::vector<Slot<Neck>>& slots,
                                                        const NeckPlan& plan);

/// Whether one of them uses the extra, beside handing it on.
STRATA_API bool reads(const std::vector<Slot<Neck>>& slots, const NeckPlan& plan,
                      const std::string& extra);

/// What fused features keep of what was said of each date: the extra "text" of date 1 is "text.1".
STRATA_API std::map<std::string, std::int64_t> extras_of_dates(const FeatureSpec& input);
STRATA_API std::map<std::string, at::Tensor> extras_of_dates(const DateFeatures& features);

}  // namespace strata
