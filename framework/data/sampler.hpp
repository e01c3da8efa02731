// Which sample each draw takes: a function of the draw's number, so that any point can be reached
// without what came before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "framework/data/dataset.hpp"
#include "registry/component.hpp"

namespace strata {

class STRATA_API Sampler {
 public:
  static constexpr const char* kind = "sampler";
  struct Context {
    std::shared_ptr<const Dataset> dataset;
    LabelSpecs labels;
    std::uint64_t seed = 0;
  };
  virtual ~Sampler();
  /// Index of the sample that draw number `draw` takes. Called from one thread at a time.
  virtual std::int64_t index(std::int64_t draw) = 0;
  /// Number of draws; nullopt: endless.
  virtual std::optional<std::int64_t> draws() const = 0;
};

/// Every sample once a pass, each pass in an order of its own (Fisher-Yates from seed and pass).
STRATA_API std::unique_ptr<Sampler> make_shuffled_sampler(std::int64_t samples, std::uint64_t seed);
/// 0, 1, …, samples - 1, and again from the start.
STRATA_API std::unique_ptr<Sampler> make_cycling_sampler(std::int64_t samples);
/// 0, 1, …, samples - 1, once.
STRATA_API std::unique_ptr<Sampler> make_sequential_sampler(std::int64_t samples);

}  // namespace strata
