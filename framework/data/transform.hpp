// Transforms change a sample: the same geometry for every date and target, photometry by date.
#pragma once

#include "framework/base/philox.hpp"
#include "framework/data/sample.hpp"
#include "registry/component.hpp"

namespace strata {

class STRATA_API Transform {
 public:
  static constexpr const char* kind = "transform";
  struct Context {
    LabelSpecs labels;
  };
  virtual ~Transform();

  /// Changes `sample` in place. Thread-safe; all randomness comes from `random`, whose stream
  /// depends on seed and draw number only.
  virtual void apply(Sample& sample, Philox& random) const = 0;
};

}  // namespace strata
