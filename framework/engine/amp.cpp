#include "framework/engine/amp.hpp"

#include <ATen/ops/_amp_foreach_non_finite_check_and_unscale.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <nlohmann/json.hpp>

namespace strata::engine {

std::optional<at::ScalarType> amp_type(const std::optional<AmpOptions>& options) {
  if (!options || options->dtype == "off") return std::nullopt;
  return options->dtype == "bf16" ? at::kBFloat16 : at::kHalf;
}

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
