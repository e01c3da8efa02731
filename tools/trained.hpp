// The trained model of a config, for the commands that serve it.
#pragma once

#include <string>

#include "framework/engine/experiment.hpp"
#include "framework/inference/predictor.hpp"

namespace strata::tools {

/// runtime.work_dir, or work_dirs/<config name>.
std::string work_dir_of(const Experiment& experiment);

/// The weight file that `given` means: a .safetensors file or a checkpoint folder; "" means the
/// best checkpoint of the config's run. Throws CheckpointError with the command that makes one.
std::string find_weights(const Experiment& experiment, const std::string& given);

/// The model with these weights, loaded strictly, ready to predict.
inference::Predictor trained_model(const Experiment& experiment, const std::string& weights,
                                   const std::string& device);

}  // namespace strata::tools
