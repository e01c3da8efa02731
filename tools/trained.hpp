// The trained model of a config, for the commands that serve it.
#pragma once

#include <memory>
#include <string>

#include "framework/engine/experiment.hpp"
#include "framework/inference/predictor.hpp"
#include "framework/inference/serving.hpp"
#include "tools/loading.hpp"

namespace strata::tools {

/// The weight file that `given` means: a file (safetensors or of torch.save), a checkpoint or a work
/// dir; "" means the best checkpoint of the config's run. Throws CheckpointError with the command that makes one.
std::string find_weights(const Experiment& experiment, const std::string& given);

/// The model with these weights, loaded strictly, in eval mode on runtime.device.
std::shared_ptr<Segmentor> trained_model(const Experiment& experiment, const std::string& weights);

/// --tta and --ensemble of the commands that serve models.
struct ServingArguments {
  bool tta = false;
  std::vector<std::string> ensemble;  // "CONFIG:WEIGHTS" or "CONFIG"
};
void add_serving(CLI::App& app, ServingArguments& arguments);

/// The config's model as it is to be served, and with it those of --ensemble. Throws UserError when
/// one of them takes other images or predicts other classes.
inference::Predictor make_predictor(const Loaded& loaded, const std::string& weights,
                                    const ServingArguments& serving,
                                    const ConfigArguments& arguments);

}  // namespace strata::tools
