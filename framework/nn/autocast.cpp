#include "framework/nn/autocast.hpp"

#include <ATen/autocast_mode.h>

namespace strata::nn {

Autocast::Autocast(c10::DeviceType device, std::optional<at::ScalarType> type)
    : device_(device),
      was_on_(at::autocast::is_autocast_enabled(device)),
      old_type_(at::autocast::get_autocast_dtype(device)) {
  at::autocast::set_autocast_enabled(device, type.has_value());
  if (type) at::autocast::set_autocast_dtype(device, *type);
  at::autocast::increment_nesting();
}

Autocast::~Autocast() {
  // Cast weights are kept for the outermost object's lifetime; a step makes them out of date.
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, was_on_);
  at::autocast::set_autocast_dtype(device_, old_type_);
}

void Autocast::forget_weights() { at::autocast::clear_cache(); }

}  // namespace strata::nn
