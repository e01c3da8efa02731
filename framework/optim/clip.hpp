// Limits on gradients. Nothing here waits for a device.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/base/export.hpp"

namespace strata::optim {

/// Scales the gradients of `parameters` so that their 2-norm, taken together, is at most
/// `max_norm`. Returns the norm before scaling (a scalar tensor on the device; not finite when a
/// gradient is not). Parameters without a gradient are passed over; without any gradient the norm
/// is 0.
STRATA_API at::Tensor clip_grad_norm(const std::vector<at::Tensor>& parameters, double max_norm);

/// Cuts every element of the gradients to [-max_value, max_value].
STRATA_API void clip_grad_value(const std::vector<at::Tensor>& parameters, double max_value);

}  // namespace strata::optim
