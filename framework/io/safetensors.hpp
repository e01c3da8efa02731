// The safetensors format: a JSON header and raw little-endian data. Reading maps the file and
// copies nothing; every length, offset, overlap and type is checked before a tensor is made.
// Source: the format's own description (huggingface/safetensors README).
#pragma once

#include <map>
#include <string>

#include "framework/base/export.hpp"
#include "framework/io/mapped_file.hpp"
#include "framework/io/tensor_file.hpp"

namespace strata::io {

/// Reads `path`: tensors in the order of their offsets, sharing a private mapping of the file, so
/// that writing to one does not reach the file. Throws CheckpointError "path: what is wrong".
STRATA_API TensorFile read_safetensors(const std::string& path);
STRATA_API TensorFile read_safetensors(const MappedFile& mapped, const std::string& path);

/// Writes CPU copies of `tensors` (any layout; stored row-major), replacing `path` in one step:
/// a reader sees the old file or the whole new one. Throws CheckpointError.
STRATA_API void write_safetensors(const std::string& path, const TensorMap& tensors,
                                  const std::map<std::string, std::string>& metadata = {});

}  // namespace strata::io
