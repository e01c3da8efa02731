// Numbers of an option as a tensor where it is used.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "framework/base/export.hpp"

namespace strata {

/// Kept where the tensors are that it is used with: copied to a GPU anew, it would hold up every
/// step. Not a buffer: state dicts hold none. Not for two threads at once.
class STRATA_API DeviceValues {
 public:
  DeviceValues() = default;
  explicit DeviceValues(const std::vector<double>& values) : values_(values) {}
  bool empty() const { return values_.empty(); }
  std::size_t size() const { return values_.size(); }
  double operator[](std::size_t i) const { return values_[i]; }
  /// [values] with the dtype and device of `like`, undefined when empty.
  at::Tensor on(const at::Tensor& like) const;

 private:
  std::vector<double> values_;
  mutable at::Tensor cached_;
};

}  // namespace strata
