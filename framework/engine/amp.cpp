#include "framework/engine/amp.hpp"

#include <ATen/autocast_mode.h>
#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

namespace strata::engine {

std::optional<at::ScalarType> amp_type(const std::optional<AmpOptions>& options) {
  if (!options || options->dtype == "off") return std::nullopt;
  return options->dtype == "bf16" ? at::kBFloat16 : at::kHalf;
}

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

bool GradScaler::unscale(const std::vector<at::Tensor>& gradients) const {
  const at::TensorOptions options = gradients.front().options().dtype(at::kFloat);
  at::Tensor found = at::zeros({1}, options);
  const at::Tensor inverse = at::full({1}, 1.0 / scale_, options);
  at::_amp_foreach_non_finite_check_and_unscale_(gradients, found, inverse);
  return found.item<float>() == 0;
}

void GradScaler::update(bool overflow) {
  if (overflow) {
    scale_ *= 0.5;
    good_steps_ = 0;
  } else if (++good_steps_ == growth_interval_) {
    scale_ *= 2.0;
    good_steps_ = 0;
  }
}

std::string GradScaler::save() const {
  return nlohmann::ordered_json{{"scale", scale_}, {"good_steps", good_steps_}}.dump();
}

void GradScaler::load(const std::string& text) {
  const auto json = nlohmann::json::parse(text);
  scale_ = json.at("scale").get<double>();
  good_steps_ = json.at("good_steps").get<std::int64_t>();
}

}  // namespace strata::engine
