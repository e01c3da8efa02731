// validate: everything that can be known of configs without computing: keys, types, references,
// roles, shapes; with --data also files and label values.
#include <cstdio>

#include "framework/engine/session.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

// Reads every sample of a split once; a DataError names the file.
void read_all(const char* split, const SplitOptions& options, const Dataset::Context& context) {
  const auto dataset = options.dataset.build(context);
  for (std::int64_t i = 0; i < dataset->size(); ++i) dataset->read(i);
  std::printf("  %s: %lld samples read\n", split, static_cast<long long>(dataset->size()));
}

void check_data(const Experiment& experiment) {
  const Dataset::Context context = engine::dataset_context(experiment);
  if (experiment.data.train) read_all("train", *experiment.data.train, context);
  for (const auto& [name, split] : experiment.data.val.sets) read_all("val", split, context);
  for (const auto& [name, split] : experiment.data.test.sets) read_all("test", split, context);
}

// Patterns speak of parameter names, which only a model that is built can tell.
void check_patterns(const Experiment& experiment) {
  bool has_patterns = !experiment.freeze.empty() || !experiment.init.sets.empty();
  for (const auto& [key, value] : config::leaves(experiment.document.root)) {
    const bool of_optimizer = key.starts_with("optimizer.");
    has_patterns = has_patterns || (of_optimizer && key.find(".paramwise.") != std::string::npos) ||
                   (of_optimizer && key.ends_with(".params"));
  }
  if (!has_patterns) return;
  const auto model = experiment.build_model();
  engine::check_init(experiment, *model);
  const auto freezer = engine::build_freezer(experiment, *model);
  engine::plan_trainers(experiment, *model, freezer.get());
}

/// Nothing is fetched before training starts, so that is said.
void tell_pretrained(const Experiment& experiment) {
  for (const auto& [set, options] : experiment.init.sets) {
    if (!options.from.is_name()) continue;
    const io::PretrainedFile file = io::find_pretrained(options.from.text);
    std::printf("  %s: %s\n", options.from.text.c_str(),
                (file.path.empty() ? "to be fetched from " + file.url : file.path).c_str());
  }
}

/// Numbers of a schedule that contradict each other or the optimizer's.
void check_schedule(const Experiment& experiment) {
  if (!experiment.schedule) return;
  constexpr std::int64_t kManySteps = 1'000'000;  // of a run counted in epochs
  for (const auto& [name, slot] : experiment.optimizer.sets) {
    const OptimizerOptions& common = slot.ask(&Optimizer::Statics::common);
    experiment.schedule->build({.steps = experiment.train.steps.value_or(kManySteps),
                                .base_lr = common.scaled_lr(engine::samples_in_step(experiment)),
                                .steps_in_epoch = 1.0});
  }
}

}  // namespace

int run_validate(int argc, char** argv) {
  CLI::App app("Checks configs before anything is computed.", "validate");
  std::vector<std::string> configs, overrides;
  bool data = false;
  app.add_option("config", configs, "TOML configs")->required()->type_name("CONFIG");
  add_overrides(app, overrides);
  app.add_flag("--data", data, "also read every sample: files, sizes, label values");
  return run_tool(app, argc, argv, [&] {
    int status = kOk;
    for (const std::string& path : configs) {
      try {
        const Loaded loaded = load({.config = path, .overrides = overrides});
        const Experiment& experiment = loaded.experiment;
        check_schedule(experiment);
        check_patterns(experiment);
        if (data) check_data(experiment);
        std::printf("%s: valid\n", path.c_str());
        tell_pretrained(experiment);
      } catch (const UserError& error) {
        std::fprintf(stderr, "%s\n", error.what());
        status = kUserError;
      }
    }
    return status;
  });
}

}  // namespace strata::tools
