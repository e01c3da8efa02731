#include "framework/model/batch.hpp"

#include <ATen/ATen.h>

#include <stdexcept>

namespace strata {

at::Tensor probabilities(const Output& output) {
  switch (output.kind) {
    case Output::Kind::probability:
      return output.data;
    case Output::Kind::logits:
      return output.activation == Output::Activation::softmax ? at::softmax(output.data, 1)
                                                              : at::sigmoid(output.data);
    default:
      throw std::logic_error("probabilities() of an output that has none");
  }
}

at::Tensor labels(const Output& output) {
  if (output.kind == Output::Kind::label) return output.data;
  if (output.data.size(1) > 1) return output.data.argmax(1);
  return (probabilities(output).squeeze(1) > output.threshold).to(at::kLong);
}

const Output* find_output(const Outputs& outputs, const std::string& target) {
  for (const auto& [name, output] : outputs) {
    if (output.target == target && output.kind != Output::Kind::value) return &output;
  }
  return nullptr;
}

const at::Tensor& get(const TensorMap& tensors, const std::string& name) {
  for (const auto& [key, value] : tensors) {
    if (key == name) return value;
  }
  throw std::logic_error("no tensor named " + name);
}

at::Tensor Losses::total() const {
  at::Tensor sum;
  for (const auto& [name, value] : terms) sum = sum.defined() ? sum + value : value;
  return sum;
}

}  // namespace strata
