// Files of named tensors, whatever their format.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::io {

struct TensorFile {
  TensorMap tensors;                            // they share a private mapping of the file
  std::map<std::string, std::string> metadata;  // of safetensors
  std::string picked;                           // the dict of a torch file that they were in
  std::vector<std::string> others;              // its other dicts with tensors
};

/// Reads a file of weights; its format is told by its content: safetensors, torch.save's zip,
/// TorchScript, or torch.save's pickle of before 1.6. Of a folder model.safetensors, else
/// pytorch_model.bin. `select` says which dict of a torch file (see read_torch_zip). Nothing in a
/// file is executed, and every number in it is checked before it is used. Throws CheckpointError
/// "path: what is wrong".
STRATA_API TensorFile read_tensors(const std::string& path, const std::string& select = "");

/// Writes .safetensors, or what torch.load reads: .pth, .pt, .bin. Throws CheckpointError.
STRATA_API void write_tensors(const std::string& path, const TensorMap& tensors);

}  // namespace strata::io
