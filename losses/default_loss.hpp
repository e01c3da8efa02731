// The loss of a head whose config names none.
#pragma once

#include <memory>

#include "losses/loss.hpp"

namespace strata::losses {

/// Cross entropy for classes, binary cross entropy for a single sigmoid channel.
STRATA_API std::shared_ptr<Loss> default_loss(const Loss::Context& context);

}  // namespace strata::losses
