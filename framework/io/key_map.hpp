// Names of weights in other layouts (timm, torchvision, …), translated to ours by rules.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::io {

/// A name that is `from`, or starts with it and a dot, starts with `to` instead; `drop` leaves the
/// tensor out.
struct KeyRule {
  std::string from, to;
  bool drop = false;
};

/// The first rule that fits decides; a name that none fits stays. nullopt: dropped.
STRATA_API std::optional<std::string> rename(const std::string& name,
                                             const std::vector<KeyRule>& rules);
/// The tensors under their new names, without the dropped ones.
STRATA_API TensorMap rename(const TensorMap& tensors, const std::vector<KeyRule>& rules);

}  // namespace strata::io
