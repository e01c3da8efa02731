#include "framework/io/weights.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "framework/config/globs.hpp"
#include "framework/io/adapts_weights.hpp"

namespace strata::io {

TensorMap state_of(const torch::nn::Module& module) {
  TensorMap state;
  for (const auto& item : module.named_parameters()) state.emplace_back(item.key(), item.value());
  for (const auto& item : module.named_buffers()) state.emplace_back(item.key(), item.value());
  return state;
}

namespace {

std::string shape(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

void list(std::string& text, const char* title, const std::vector<std::string>& names,
          std::size_t most, const std::vector<std::string>& candidates) {
  if (names.empty()) return;
  text += fmt::format("\n  {} {}:", names.size(), title);
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) {
    text += "\n    " + names[i] + did_you_mean(names[i], candidates);
  }
  if (names.size() > most) text += fmt::format("\n    … and {} more", names.size() - most);
}

/// Counts that no result depends on, and tables that follow from the model's shape.
bool optional_entry(const std::string& name) {
  return name.ends_with("num_batches_tracked") || name.ends_with("relative_position_index");
}

}  // namespace

std::string LoadReport::str(std::size_t most) const {
  std::string text = fmt::format("{} tensors match", matched.size());
  list(text, "missing in the file", missing, most, unexpected);
  list(text, "unexpected in the file", unexpected, most, missing);
  list(text, "of another shape", shapes, most, {});
  list(text, "left at their fresh initialisation", fresh, most, {});
  list(text, "adapted to the model's shape", adapted, most, {});
  return text;
}

namespace {

/// `weight` [O, 3, …] for another number of input channels; undefined when it is no such case.
at::Tensor adapted_input(const at::Tensor& weight, const at::Tensor& own) {
  constexpr std::int64_t kColours = 3;
  if (weight.dim() != 4 || own.dim() != 4 || weight.size(1) != kColours) return {};
  for (const std::int64_t d : {0, 2, 3}) {
    if (weight.size(d) != own.size(d)) return {};
  }
  const std::int64_t channels = own.size(1);
  const at::Tensor wide = weight.to(at::kDouble);
  if (channels == 1) return wide.sum(1, /*keepdim=*/true);
  const std::int64_t times = (channels + kColours - 1) / kColours;
  return wide.repeat({1, times, 1, 1}).narrow(1, 0, channels) *
         (static_cast<double>(kColours) / static_cast<double>(channels));
}

/// Modules that adapt weights, outer ones first, by the prefix of their names.
using Adapters = std::vector<std::pair<std::string, AdaptsWeights*>>;

Adapters adapters_of(torch::nn::Module& module) {
  Adapters adapters;
  const auto add = [&](const std::string& prefix, torch::nn::Module& candidate) {
    auto* adapter = dynamic_cast<AdaptsWeights*>(&candidate);
    if (adapter != nullptr) adapters.emplace_back(prefix, adapter);
  };
  add("", module);
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    add(item.key() + ".", *item.value());
  }
  return adapters;
}

/// The innermost module that holds the parameter and can adapt it does; undefined: none.
at::Tensor adapted_by(const Adapters& adapters, const std::string& name, const at::Tensor& own,
                      const at::Tensor& loaded) {
  for (auto i = adapters.rbegin(); i != adapters.rend(); ++i) {
    const auto& [prefix, adapter] = *i;
    if (!name.starts_with(prefix)) continue;
    at::Tensor adapted = adapter->adapt_weight(name.substr(prefix.size()), own, loaded);
    if (!adapted.defined()) continue;
    TORCH_CHECK(adapted.sizes() == own.sizes(), name, " was adapted to ", adapted.sizes(),
                ", the model has ", own.sizes());
    return adapted;
  }
  return {};
}

bool may_be_missing(const Adapters& adapters, const std::string& name) {
  return std::any_of(adapters.begin(), adapters.end(), [&](const auto& adapter) {
    return name.starts_with(adapter.first) &&
           adapter.second->may_be_missing(name.substr(adapter.first.size()));
  });
}

}  // namespace

AdaptsWeights::~AdaptsWeights() = default;
at::Tensor AdaptsWeights::adapt_weight(const std::string&, const at::Tensor&,
                                       const at::Tensor&) const {
  return {};
}
bool AdaptsWeights::may_be_missing(const std::string&) const { return false; }
void AdaptsWeights::weights_loaded() {}

WeightsError::WeightsError(const std::string& source, LoadReport refused)
    : CheckpointError(source + ": the weights do not fit the model: " + refused.str()),
      report_(std::move(refused)) {}
WeightsError::~WeightsError() = default;

LoadReport load_state(torch::nn::Module& module, const TensorMap& tensors,
                      const std::string& source, const LoadOptions& options) {
  const std::string prefix = options.part.empty() ? "" : options.part + ".";
  std::unordered_map<std::string, at::Tensor> given;
  for (const auto& [name, tensor] : tensors) {
    if (given.emplace(prefix + name, tensor).second) continue;
    throw CheckpointError(source + ": two tensors are named \"" + prefix + name + "\"");
  }
  LoadReport report, refused;
  const auto of = [&](const std::string& name) -> LoadReport& {
    return config::glob_match_any(options.allow, name) ? report : refused;
  };
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  const Adapters adapters = adapters_of(module);
  for (const auto& [name, own] : state_of(module)) {
    if (!name.starts_with(prefix)) continue;
    auto found = given.find(name);
    if (config::glob_match_any(options.reinit, name)) {
      report.fresh.push_back(name);
      if (found != given.end()) given.erase(found);
      continue;
    }
    if (found == given.end()) {
      if (optional_entry(name)) continue;
      if (options.pretrained && may_be_missing(adapters, name)) {
        report.fresh.push_back(name);
      } else {
        of(name).missing.push_back(name);
      }
      continue;
    }
    at::Tensor weight = found->second;
    given.erase(found);
    if (weight.sizes() != own.sizes()) {
      const at::NoGradGuard no_grad;
      at::Tensor adapted = adapted_by(adapters, name, own, weight);
      if (!adapted.defined() && options.adapt_input) adapted = adapted_input(weight, own);
      if (adapted.defined()) {
        report.adapted.push_back(
            fmt::format("{}: file {}, model {}", name, shape(weight), shape(own)));
        copies.emplace_back(own, adapted);
        continue;
      }
    }
    if (weight.sizes() != own.sizes()) {
      LoadReport& to = of(name);
      to.shapes.push_back(fmt::format("{}: file {}, model {}", name, shape(weight), shape(own)));
      if (weight.dim() > 0 && weight.dim() == own.dim() &&
          weight.sizes().slice(1) == own.sizes().slice(1)) {
        to.other_classes.push_back(name);
      }
      if (adapted_input(weight, own).defined()) to.other_channels.push_back(name);
    } else {
      report.matched.push_back(name);
      copies.emplace_back(own, weight);
    }
  }
  for (const auto& [name, tensor] : tensors) {
    const std::string whole = prefix + name;
    // Of a module that is left alone as a whole, a tensor that the model does not have is fine too.
    if (given.count(whole) == 0 || config::glob_match_any(options.reinit, whole)) continue;
    of(whole).unexpected.push_back(whole);
  }
  if (!refused.complete()) {
    refused.matched = report.matched;
    throw WeightsError(source, std::move(refused));
  }
  at::NoGradGuard no_grad;
  for (auto& [own, loaded] : copies) own.copy_(loaded);
  for (const auto& [path, adapter] : adapters) adapter->weights_loaded();
  return report;
}

}  // namespace strata::io
