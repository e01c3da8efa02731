// Segmentors compose backbone, necks and heads into a Model.
#pragma once

#include "framework/model/model.hpp"
#include "registry/component.hpp"

namespace strata {

/// A segmentor `S` with options `O` also has `static void check(const O&, const Segmentor::Context&)`:
/// walks the shapes of all its parts and throws ConfigError (located) when they do not fit.
class STRATA_API Segmentor : public Model {
 public:
  static constexpr const char* kind = "segmentor";
  struct Context {
    LabelSpecs labels;
    std::int64_t image_channels = 3;
  };
  struct Statics {
    void (*check)(const void* options, const Context& context);
    std::int64_t (*dates)(const void* options);  // images a sample must have
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, const Context& context) {
              Component::check(*static_cast<const Options*>(options), context);
            },
            [](const void* options) {
              return Component::dates_of(*static_cast<const Options*>(options));
            }};
  }
};

}  // namespace strata
