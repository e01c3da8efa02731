// Files of named tensors, whatever their format.
#pragma once

#include <array>
#include <map>
#include <optional>
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

/// What a folder or a hub's repository may hold, the fastest to read first.
inline constexpr std::array kHubFiles{"model.safetensors", "model.safetensors.index.json",
                                      "pytorch_model.bin", "pytorch_model.bin.index.json"};
/// The first of them that is in the folder.
STRATA_API std::optional<std::string> weights_in(const std::string& folder);

/// Reads a file of weights; its format is told by its content: safetensors, torch.save's zip,
/// TorchScript, or torch.save's pickle of before 1.6; or the files of an index (see sharded.hpp). Of
/// a folder weights_in. `select` says which dict of a torch file (see read_torch_zip). Nothing in a
/// file is executed, and every number in it is checked before it is used. Throws CheckpointError
/// "path: what is wrong".
STRATA_API TensorFile read_tensors(const std::string& path, const std::string& select = "");

/// Writes .safetensors, or what torch.load reads: .pth, .pt, .bin. Throws CheckpointError.
STRATA_API void write_tensors(const std::string& path, const TensorMap& tensors);

}  // namespace strata::io
