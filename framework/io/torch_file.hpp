// Files of torch.save: zip archives (since PyTorch 1.6), TorchScript archives as far as weights go,
// and the pickles of before. Read without running anything that is in them (see pickle.hpp),
// written so that torch.load(weights_only=True) reads them.
#pragma once

#include <string>

#include "framework/base/export.hpp"
#include "framework/io/mapped_file.hpp"
#include "framework/io/tensor_file.hpp"

namespace strata::io {

/// Tensors under their dotted names. `select` names the dict that holds them by its keys
/// ("state_dict_ema", "a.b"). Left empty: the dict with tensors under the first of the keys
/// state_dict, model_state_dict, model_state, model, module, net, network, params, weights,
/// teacher, student; else the outermost one; else the only one. `module.` and `_orig_mod.` in front
/// of every name are taken away. Throws CheckpointError "source: byte N: what is wrong".
STRATA_API TensorFile read_torch_zip(const MappedFile& file, const std::string& source,
                                     const std::string& select = "");
STRATA_API TensorFile read_torch_legacy(const MappedFile& file, const std::string& source,
                                        const std::string& select = "");

/// Writes CPU copies of `tensors`, row-major, as an OrderedDict; replaces `path` in one step.
/// Throws CheckpointError.
STRATA_API void write_torch_file(const std::string& path, const TensorMap& tensors);

}  // namespace strata::io
