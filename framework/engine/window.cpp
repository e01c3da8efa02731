#include "framework/engine/window.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace strata::engine {

void Window::put(const std::string& name, double value, double weight) {
  auto place =
      std::find_if(sums_.begin(), sums_.end(), [&](const Sum& one) { return one.name == name; });
  if (place == sums_.end()) place = sums_.insert(sums_.end(), Sum{name});
  place->sum += value * weight;
  place->weight += weight;
}

void Window::add(const TensorMap& values, double weight) {
  TensorMap detached;
  for (const auto& [name, value] : values) detached.emplace_back(name, value.detach());
  unread_.emplace_back(weight, std::move(detached));
  const bool at_hand = std::all_of(values.begin(), values.end(),
                                   [](const auto& item) { return item.second.is_cpu(); });
  if (at_hand) fold();
}

void Window::add(const std::string& name, double value, double weight) {
  fold();
  put(name, value, weight);
}

void Window::fold() {
  for (const auto& [weight, values] : unread_) {
    for (const auto& [name, value] : values) put(name, value.item<double>(), weight);
  }
  unread_.clear();
}

std::vector<std::pair<std::string, double>> Window::take() {
  fold();
  std::vector<std::pair<std::string, double>> means;
  for (const Sum& one : sums_) means.emplace_back(one.name, one.sum / one.weight);
  sums_.clear();
  return means;
}

std::string Window::not_finite() {
  fold();
  for (const Sum& one : sums_) {
    if (!std::isfinite(one.sum)) return one.name;
  }
  return "";
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
  for (const auto& one : nlohmann::json::parse(text)) {
    const auto& sum = one.at(1);
    sums_.push_back({one.at(0).get<std::string>(), sum.is_null() ? std::nan("") : sum.get<double>(),
                     one.at(2).get<double>()});
  }
}

}  // namespace strata::engine
