// Transforms change a sample: the same geometry for every date and target, photometry by date.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "framework/base/philox.hpp"
#include "framework/data/dataset.hpp"
#include "framework/data/sample.hpp"
#include "registry/component.hpp"

namespace strata {

/// A transform `T` with options `O` that changes how many images a sample has also has `static
/// std::int64_t dates_of(const O&, std::int64_t given)`.
class STRATA_API Transform {
 public:
  static constexpr const char* kind = "transform";
  struct Context {
    LabelSpecs labels;
  };
  struct Statics {
    std::int64_t (*dates)(const void* options, std::int64_t given);  // images a sample, after it
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options, std::int64_t given) {
      if constexpr (requires {
                      Component::dates_of(*static_cast<const Options*>(options), given);
                    }) {
        return Component::dates_of(*static_cast<const Options*>(options), given);
      } else {
        return given;
      }
    }};
  }
  /// Another sample of the data set, drawn and put through the transforms in front of this one.
  using Another = std::function<Sample()>;
  virtual ~Transform();

  /// Changes `sample`: it puts new tensors, or views, in place of those there, and never writes
  /// into them (they may be kept for the next draw). Thread-safe; all randomness comes from
  /// `random`, whose stream depends on seed and draw number only.
  virtual void apply(Sample& sample, Philox& random) const = 0;
  /// The same for transforms that mix several samples; the others only apply themselves.
  virtual void mix(Sample& sample, Philox& random, const Another& another) const;
  /// Whether mix() understands a sample of which work was put off; for others it is done before.
  virtual bool takes_unsettled() const { return false; }
};

/// Does what Sample::put_off says.
STRATA_API void settle(Sample& sample);
/// … but leaves the values as they are: only what decides size and place.
STRATA_API void settle_geometry(Sample& sample);

/// Applies `transforms` in order.
STRATA_API void run_transforms(const std::vector<std::shared_ptr<const Transform>>& transforms,
                               Sample& sample, Philox& random, const Transform::Another& another);

/// Sample `index` of `dataset` after the first `count` of `transforms`; normalising may be put off.
STRATA_API Sample draw_sample(const Dataset& dataset, std::int64_t index,
                              const std::vector<std::shared_ptr<const Transform>>& transforms,
                              std::size_t count, Philox& random);

}  // namespace strata
