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
  constexpr std::string_view kCounter = "num_batches_tracked";
  return name.size() >= kCounter.size() &&
         name.compare(name.size() - kCounter.size(), kCounter.size(), kCounter) == 0;
}

}  // namespace

std::string LoadReport::str(std::size_t most) const {
  std::string text = fmt::format("{} tensors match", matched.size());
  list(text, "missing in the file", missing, most, unexpected);
  list(text, "unexpected in the file", unexpected, most, missing);
  list(text, "of another shape", shapes, most, {});
  return text;
}

LoadReport load_state(torch::nn::Module& module, const TensorMap& tensors,
                      const std::string& source, const std::vector<std::string>& allow) {
  auto allowed = [&](const std::string& name) {
    return std::any_of(allow.begin(), allow.end(), [&](const std::string& pattern) {
      return config::glob_match(pattern, name);
    });
  };
  std::unordered_map<std::string, at::Tensor> given(tensors.begin(), tensors.end());
  LoadReport report, refused;
  std::vector<std::pair<at::Tensor, at::Tensor>> copies;
  for (const auto& [name, own] : state_of(module)) {
    auto found = given.find(name);
    if (found == given.end()) {
      if (!optional_entry(name)) {
        (allowed(name) ? report : refused).missing.push_back(name);
      }
      continue;
    }
    if (found->second.sizes() != own.sizes()) {
      (allowed(name) ? report : refused)
          .shapes.push_back(
              fmt::format("{}: file {}, model {}", name, shape(found->second), shape(own)));
    } else {
      report.matched.push_back(name);
      copies.emplace_back(own, found->second);
    }
    given.erase(found);
  }
  for (const auto& [name, tensor] : tensors) {
    if (given.count(name) == 0) continue;
    (allowed(name) ? report : refused).unexpected.push_back(name);
  }
  if (!refused.complete()) {
    refused.matched = report.matched;
    throw CheckpointError(source + ": the weights do not fit the model: " + refused.str());
  }
  at::NoGradGuard no_grad;
  for (auto& [own, loaded] : copies) own.copy_(loaded);
  return report;
}

}  // namespace strata::io
