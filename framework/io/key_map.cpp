#include "framework/io/key_map.hpp"

namespace strata::io {

std::optional<std::string> rename(const std::string& name, const std::vector<KeyRule>& rules) {
  for (const KeyRule& rule : rules) {
    const std::size_t length = rule.from.size();
    if (name.compare(0, length, rule.from) != 0) continue;
    if (name.size() != length && name[length] != '.') continue;
    if (rule.drop) return std::nullopt;
    return rule.to + name.substr(length);
  }
  return name;
}

TensorMap rename(const TensorMap& tensors, const std::vector<KeyRule>& rules) {
  TensorMap renamed;
  for (const auto& [name, tensor] : tensors) {
    if (const auto ours = rename(name, rules)) renamed.emplace_back(*ours, tensor);
  }
  return renamed;
}

}  // namespace strata::io
