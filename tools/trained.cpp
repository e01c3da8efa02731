#include "tools/trained.hpp"

#include <filesystem>

#include "framework/engine/checkpoint.hpp"
#include "framework/engine/session.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"

namespace strata::tools {

std::string find_weights(const Experiment& experiment, const std::string& given) {
  if (!given.empty()) return engine::weights_of(given);
  const std::string work_dir = engine::work_dir_of(experiment);
  if (!std::filesystem::is_directory(work_dir)) {
    throw CheckpointError(work_dir + ": there is no trained model; run tools/train first, or name a "
                                     "weight file");
  }
  return engine::weights_of(work_dir);
}

std::shared_ptr<Segmentor> trained_model(const Experiment& experiment, const std::string& weights) {
  auto model = experiment.build_model();
  io::load_state(*model, io::read_safetensors(weights).tensors, weights);
  inference::place(*model, engine::device_of(experiment),
                   engine::wants_channels_last(experiment));
  model->eval();
  return model;
}

}  // namespace strata::tools
