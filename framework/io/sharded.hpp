// Weights in several files beside an index, as Hugging Face's tools write large ones:
// model.safetensors.index.json, pytorch_model.bin.index.json.
#pragma once

#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/io/tensor_file.hpp"

namespace strata::io {

/// Whether a file of this name is such an index.
STRATA_API bool is_index(const std::string& path);

/// The files of an index, by their names in its folder, sorted. Throws CheckpointError
/// "path: what is wrong", for instance for a file outside of the folder.
STRATA_API std::vector<std::string> shards_of(const std::string& path);

/// The tensors of all files of an index. Each must be in the one file that the index names, and
/// each tensor of a file in the index. Throws CheckpointError.
STRATA_API TensorFile read_sharded(const std::string& path);

}  // namespace strata::io
