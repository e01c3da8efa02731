// Mixed precision: operators that gain from it run in bfloat16 or half precision.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <optional>

#include "framework/base/export.hpp"

namespace strata::nn {

/// While an object of this lives, LibTorch chooses the precision of each operator on `device` in
/// this thread; without a type, every operator keeps that of its inputs.
class STRATA_API Autocast {
 public:
  Autocast(c10::DeviceType device, std::optional<at::ScalarType> type);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  /// Forgets the weights that were cast so far: after an optimizer has changed them.
  static void forget_weights();

 private:
  c10::DeviceType device_;
  bool was_on_;
  at::ScalarType old_type_;
};

}  // namespace strata::nn
