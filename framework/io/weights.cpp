#include "framework/io/weights.hpp"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "framework/config/globs.hpp"

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

bool optional_entry(const std::string& name) {
  return name.ends_with("num_batches_tracked");
}

}  // namespace

std::string LoadReport::str(std::size_t most) const {
  std::string text = fmt::format("{} tensors match", matched.size());
  list(text, "missing in the file", missing, most, unexpected);
  list(text, "unexpected in the file", unexpected, most, missing);
  list(text, "of another shape", shapes, most, {});
  list(text, "left at their fresh initialisation", fresh, most, {});
  list(text, "adapted to another number of channels", adapted, most, {});
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

}  // namespace

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
  for (const auto& [name, own] : state_of(module)) {
    if (!name.starts_with(prefix)) continue;
    auto found = given.find(name);
    if (config::glob_match_any(options.reinit, name)) {
      report.fresh.push_back(name);
      if (found != given.end()) given.erase(found);
      continue;
    }
    if (found == given.end()) {
      if (!optional_entry(name)) of(name).missing.push_back(name);
      continue;
    }
    at::Tensor weight = found->second;
    given.erase(found);
    if (weight.sizes() != own.sizes() && options.adapt_input) {
      const at::Tensor adapted = adapted_input(weight, own);
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
  return report;
}

}  // namespace strata::io
