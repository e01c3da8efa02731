#include "tools/flops.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/record_function.h>

#include <string_view>
#include <vector>

namespace strata::tools {
namespace {

thread_local std::int64_t multiply_adds = 0;

// The output is not known yet when an operator begins: its extent follows from the arguments.
std::int64_t of_convolution(c10::ArrayRef<const c10::IValue> inputs) {
  const at::Tensor image = inputs[0].toTensor(), weight = inputs[1].toTensor();
  const auto stride = inputs[3].toIntVector(), padding = inputs[4].toIntVector(),
             dilation = inputs[5].toIntVector();
  // A list of one holds for every dimension.
  const auto along = [](const std::vector<std::int64_t>& list, std::int64_t d) {
    return list.size() == 1 ? list.front() : list.at(d);
  };
  std::int64_t count = weight.numel() * image.size(0);
  for (std::int64_t d = 0; d < image.dim() - 2; ++d) {
    const std::int64_t span = along(dilation, d) * (weight.size(d + 2) - 1) + 1;
    count *= (image.size(d + 2) + 2 * along(padding, d) - span) / along(stride, d) + 1;
  }
  return count;
}

std::int64_t of_product(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() * (b.dim() > 1 ? b.size(-1) : 1);
}

std::unique_ptr<at::ObserverContext> observe(const at::RecordFunction& function) {
  const std::string_view name = function.name();
  // inputs() of operators that record none is an error.
  if (name == "aten::convolution") {
    multiply_adds += of_convolution(function.inputs());
  } else if (name == "aten::mm" || name == "aten::bmm") {
    multiply_adds += of_product(function.inputs()[0].toTensor(), function.inputs()[1].toTensor());
  } else if (name == "aten::addmm" || name == "aten::baddbmm") {
    multiply_adds += of_product(function.inputs()[1].toTensor(), function.inputs()[2].toTensor());
  }
  return nullptr;
}

}  // namespace

std::int64_t count_multiply_adds(const std::function<void()>& body) {
  multiply_adds = 0;
  const auto handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&observe).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  try {
    body();
  } catch (...) {
    at::removeCallback(handle);
    throw;
  }
  at::removeCallback(handle);
  return multiply_adds;
}

}  // namespace strata::tools
