// Reads a weight file from memory and uses every byte of it: a tensor that reaches outside of its
// file shows here.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/io/tensor_file.hpp"
#include "tests/fuzz/target.hpp"

namespace strata::fuzz {

inline void use_all_bytes(const io::TensorFile& file) {
  for (const auto& [name, tensor] : file.tensors) {
    const at::Tensor plain = tensor.contiguous();
    const auto* values = static_cast<const volatile char*>(plain.const_data_ptr());
    const std::int64_t count = plain.numel() * static_cast<std::int64_t>(plain.element_size());
    for (std::int64_t i = 0; i < count; ++i) static_cast<void>(values[i]);
  }
}

inline void read_weights(const void* bytes, std::size_t size) {
  const std::string& path = as_file(bytes, size);
  run(path, [&] { use_all_bytes(io::read_tensors(path)); });
}

}  // namespace strata::fuzz
