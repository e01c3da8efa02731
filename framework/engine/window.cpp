#include "framework/engine/window.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace strata::engine {

void Window::put(const std::string& name, double value, double weight, std::int64_t batch) {
  const bool better = !bad_ || (bad_->name == "loss" && bad_->batch == batch);
  if (!std::isfinite(value) && better) bad_ = Bad{name, batch};
  auto place =
      std::find_if(sums_.begin(), sums_.end(), [&](const Sum& one) { return one.name == name; });
  if (place == sums_.end()) place = sums_.insert(sums_.end(), Sum{name});
  place->sum += value * weight;
  place->weight += weight;
}

void Window::add(const TensorMap& values, double weight, std::int64_t batch) {
  TensorMap detached;
  for (const auto& [name, value] : values) detached.emplace_back(name, value.detach());
  unread_.push_back({weight, batch, std::move(detached)});
  const bool at_hand = std::all_of(values.begin(), values.end(),
                                   [](const auto& item) { return item.second.is_cpu(); });
  if (at_hand) fold();
}

void Window::add(const std::string& name, double value, double weight) {
  fold();
  put(name, value, weight, -1);
}

void Window::fold() {
  for (const auto& [weight, batch, values] : unread_) {
    for (const auto& [name, value] : values) put(name, value.item<double>(), weight, batch);
  }
  unread_.clear();
}

std::vector<std::pair<std::string, double>> Window::take() {
  fold();
  std::vector<std::pair<std::string, double>> means;
  for (const Sum& one : sums_) means.emplace_back(one.name, one.sum / one.weight);
  sums_.clear();
  bad_.reset();
  return means;
}

std::optional<Window::Bad> Window::not_finite() {
  fold();
  return bad_;
}

std::string Window::save() {
  fold();
  auto json = nlohmann::ordered_json::array();
  for (const Sum& one : sums_) json.push_back({one.name, one.sum, one.weight});
  return json.dump();  // numbers come back exactly; what is not finite becomes null
}

void Window::load(const std::string& text) {
  unread_.clear();
  sums_.clear();
  bad_.reset();
  for (const auto& one : nlohmann::json::parse(text)) {
    const auto& sum = one.at(1);
    sums_.push_back({one.at(0).get<std::string>(), sum.is_null() ? std::nan("") : sum.get<double>(),
                     one.at(2).get<double>()});
    const bool better = !bad_ || bad_->name == "loss";
    if (!std::isfinite(sums_.back().sum) && better) bad_ = Bad{sums_.back().name, -1};
  }
}

}  // namespace strata::engine
