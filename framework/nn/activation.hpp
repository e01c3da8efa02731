// Activations that blocks take as an option.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/export.hpp"

namespace strata::nn {

struct Activation {
  enum class Kind { none, relu, leaky_relu, gelu, quick_gelu, silu, sigmoid, tanh };
  Kind kind = Kind::none;
  double slope = 0.01;  // of leaky_relu, for negative values

  static Activation none() { return {}; }
  static Activation relu() { return {.kind = Kind::relu}; }
  static Activation leaky_relu(double slope) { return {.kind = Kind::leaky_relu, .slope = slope}; }
  /// The exact one, by the error function.
  static Activation gelu() { return {.kind = Kind::gelu}; }
  /// x sigmoid(1.702 x): CLIP's.
  static Activation quick_gelu() { return {.kind = Kind::quick_gelu}; }
  static Activation silu() { return {.kind = Kind::silu}; }
};

/// Applies the activation to a temporary: x's memory is reused where autograd allows it, so x must
/// not be needed by the caller (or by another layer's backward) afterwards.
STRATA_API at::Tensor activate_(at::Tensor x, const Activation& activation);

}  // namespace strata::nn
