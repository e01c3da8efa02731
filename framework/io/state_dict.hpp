// From what a pickle describes to the tensors of a model: which of its dicts holds the weights, and
// whether every number of every tensor holds.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "framework/io/mapped_file.hpp"
#include "framework/io/pickle.hpp"
#include "framework/io/tensor_file.hpp"

namespace strata::io {

/// Where the bytes of a storage lie in the file.
struct StorageBytes {
  std::uint64_t begin = 0, size = 0;
};
/// Throws CheckpointError when the file does not have the storage of a tensor.
using FindStorage = std::function<StorageBytes(const PickledTensor&)>;

/// The tensors, seeing `file` where they lie aligned in it; `select` as of read_torch_zip. Throws
/// CheckpointError "source: byte N: what is wrong".
TensorFile read_state_dict(const Pickle& pickle, const MappedFile& file, const std::string& source,
                           const FindStorage& find, const std::string& select);

}  // namespace strata::io
