// Mixed precision: operators that gain from it run in bfloat16 or half precision, weights and
// losses stay in float32.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/engine/options.hpp"
#include "framework/nn/autocast.hpp"

namespace strata::engine {

/// What `train.amp` names; nullopt for none.
STRATA_API std::optional<at::ScalarType> amp_type(const std::optional<AmpOptions>& options);

using nn::Autocast;

/// Half precision has small gradients vanish and large ones overflow. Losses are scaled up before
/// they are differentiated, gradients down again before a step; after an overflow the step is left
/// out and the factor halved, after `growth_interval` good steps it is doubled (Micikevicius et
/// al., ICLR 2018; PyTorch's rule).
class STRATA_API GradScaler {
 public:
  explicit GradScaler(const AmpOptions& options)
      : scale_(options.init_scale), growth_interval_(options.growth_interval) {}

  double scale() const { return scale_; }
  /// Divides the gradients (not empty, of one device) by the factor; false when one of them is not
  /// finite. Waits for the device.
  bool unscale(const std::vector<at::Tensor>& gradients) const;
  /// Adapts the factor to the step just tried.
  void update(bool overflow);

  std::string save() const;
  void load(const std::string& text);

 private:
  double scale_;
  std::int64_t growth_interval_;
  std::int64_t good_steps_ = 0;  // since the factor changed
};

}  // namespace strata::engine
