#include "framework/model/device_values.hpp"

#include <ATen/ops/tensor.h>

namespace strata {

at::Tensor DeviceValues::on(const at::Tensor& like) const {
  if (values_.empty()) return {};
  if (!cached_.defined() || cached_.device() != like.device() ||
      cached_.scalar_type() != like.scalar_type()) {
    cached_ = at::tensor(values_, at::kDouble).to(like.device(), like.scalar_type());
  }
  return cached_;
}

}  // namespace strata
