#include "tools/trained.hpp"

#include <filesystem>

#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"

namespace strata::tools {

namespace fs = std::filesystem;

std::string work_dir_of(const Experiment& experiment) {
  return experiment.runtime.work_dir.empty() ? "work_dirs/" + experiment.name
                                             : experiment.runtime.work_dir;
}

std::string find_weights(const Experiment& experiment, const std::string& given) {
  const fs::path path = given.empty() ? fs::path(work_dir_of(experiment)) / "best" : fs::path(given);
  if (fs::is_directory(path)) {
    const fs::path inside = path / "model.safetensors";
    if (fs::is_regular_file(inside)) return inside.string();
    throw CheckpointError(path.string() + ": is not a checkpoint, it holds no model.safetensors");
  }
  if (fs::is_regular_file(path)) return path.string();
  if (!given.empty()) throw CheckpointError(given + ": does not exist");
  throw CheckpointError(path.string() + ": there is no trained model; run tools/train first, or "
                                        "name a weight file");
}

inference::Predictor trained_model(const Experiment& experiment, const std::string& weights,
                                   const std::string& device) {
  auto model = experiment.build_model();
  io::load_state(*model, io::read_safetensors(weights).tensors, weights);
  return inference::Predictor(model, c10::Device(device));
}

}  // namespace strata::tools
