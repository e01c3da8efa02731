#include "tools/trained.hpp"

#include <filesystem>

#include "backbones/key_maps.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/session.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/tensor_file.hpp"
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
  std::vector<std::string> names;
  for (const auto& [name, tensor] : io::state_of(*model)) names.push_back(name);
  io::MatchOptions options;
  options.prefix = "";
  for (const std::string& layout : backbones::model_layouts()) {
    options.layouts.push_back({layout, backbones::key_rules(layout)});
  }
  const io::KeyMatch match = io::match_keys(io::read_tensors(weights).tensors, names, options);
  io::load_state(*model, match.tensors, weights);
  inference::place(*model, engine::device_of(experiment),
                   engine::wants_channels_last(experiment));
  model->eval();
  return model;
}

void add_serving(CLI::App& app, ServingArguments& arguments) {
  app.add_flag("--tta", arguments.tta,
               "merge the views of [evaluate.tta]; without that table: as it is and mirrored");
  app.add_option("--ensemble", arguments.ensemble,
                 "more models, whose results are averaged with the first one's; weights as for it")
      ->type_name("CONFIG[:WEIGHTS],...")
      ->delimiter(',')
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

namespace {

// Two models can be averaged when they look at the same pictures and mean the same classes.
void check_alike(const Experiment& first, const Experiment& other, const std::string& name) {
  auto refuse = [&](const std::string& key, const std::string& what) {
    throw UserError("--ensemble " + name + ": " + key + ": " + what);
  };
  auto count = [](std::int64_t n) { return std::to_string(n); };
  const auto dates = [](const Experiment& one) { return one.model.ask(&Segmentor::Statics::dates); };
  if (dates(first) != dates(other)) {
    refuse("model", "takes " + count(dates(other)) +
                        (dates(other) == 1 ? " image" : " images") + " a sample, the first model " +
                        count(dates(first)));
  }
  if (first.data.channels != other.data.channels) {
    refuse("data.channels", "is " + count(other.data.channels) + ", the first model's is " +
                                count(first.data.channels));
  }
  for (const LabelSpec& label : first.labels.all()) {
    const LabelSpec* twin = other.labels.find(label.name);
    if (twin == nullptr) refuse("data.labels." + label.name, "is missing, the first model has it");
    if (twin->classes != label.classes) {
      refuse("data.labels." + label.name + ".classes", "are not those of the first model");
    }
  }
}

}  // namespace

inference::Predictor make_predictor(const Loaded& loaded, const std::string& weights,
                                    const ServingArguments& serving,
                                    const ConfigArguments& arguments) {
  const Experiment& experiment = loaded.experiment;
  std::vector<inference::Member> members;
  auto add = [&](const Experiment& one, const std::string& file) {
    members.push_back(engine::member_of(one, trained_model(one, file)));
    members.back().tta.enabled = members.back().tta.enabled || serving.tta;
    members.back().folds = std::make_shared<nn::FoldCache>();
  };
  add(experiment, weights);
  // --set speaks of the first config alone.
  const std::vector<std::string> overrides = all_overrides({.device = arguments.device});
  for (const std::string& text : serving.ensemble) {
    const std::size_t colon = text.find(':');  // names of weights have one too
    const std::string config = text.substr(0, colon);
    const Experiment other = load_experiment(config, overrides, *loaded.registry);
    check_alike(experiment, other, config);
    add(other, find_weights(other, colon == std::string::npos ? "" : text.substr(colon + 1)));
  }
  return {std::move(members), experiment.labels};
}

}  // namespace strata::tools
