// Analytic against numeric gradients, float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

namespace strata::tests {

/// Compares d f / d x, by backward and by central differences of every element of x (float64).
/// Fails the test beyond 1e-7 of the largest gradient (and of 1).
void expect_gradient(const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x);

}  // namespace strata::tests
