// The trained model of a config, for the commands that serve it.
#pragma once

#include <memory>
#include <string>

#include "framework/engine/experiment.hpp"
#include "framework/inference/serving.hpp"

namespace strata::tools {

/// The weight file that `given` means: a .safetensors file, a checkpoint or a work dir; "" means
/// the best checkpoint of the config's run. Throws CheckpointError with the command that makes one.
std::string find_weights(const Experiment& experiment, const std::string& given);

/// The model with these weights, loaded strictly, in eval mode on runtime.device.
std::shared_ptr<Segmentor> trained_model(const Experiment& experiment, const std::string& weights);

}  // namespace strata::tools
