// ChangeMask as torchange's Hugging Face style port saves it: a folder with config.json,
// pytorch_model.bin and model_info.json.
#pragma once

#include <string>

#include "tools/convert/convert_config.hpp"

namespace strata::tools {

/// Whether `text` is such a config.json.
bool is_changemask_config(const std::string& text);

/// A config of ours from it, without data. As tolerant as the port: keys that it does not know are
/// passed over, and those that are missing have its defaults. Throws UserError for what has no
/// counterpart (an encoder that is no EfficientNet); `name` is its file.
ConvertedConfig convert_changemask(const std::string& text, const std::string& name);

/// Writes the folder from the model of a config and its weights (a file, a checkpoint, a work dir).
/// Throws UserError when the port has no such model, CheckpointError when the weights are not all
/// of it; then nothing is written.
void save_changemask(const std::string& config, const std::string& weights,
                     const std::string& folder);

}  // namespace strata::tools
