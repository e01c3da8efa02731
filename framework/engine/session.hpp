// From an experiment to its parts: the one place where config meets loader, model and runner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/data/loader.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/engine/runner.hpp"
#include "framework/inference/predictor.hpp"

namespace strata::engine {

/// Threads and seed as [runtime] says; a device that is not there throws ConfigError.
STRATA_API void apply_runtime(const Experiment& experiment);
STRATA_API c10::Device device_of(const Experiment& experiment);
/// runtime.work_dir, or work_dirs/<config name>.
STRATA_API std::string work_dir_of(const Experiment& experiment);
STRATA_API bool wants_channels_last(const Experiment& experiment);

/// data.reader; without it pictures, in RGB for a model of three channels, else as they are stored.
STRATA_API std::shared_ptr<const Reader> make_reader(const Experiment& experiment);
/// The scene tags that `data.tags` asks for; null: none.
STRATA_API std::shared_ptr<const SceneTags> make_tags(const Experiment& experiment);

/// `model` (on the experiment's device) served as [evaluate.inference] and [evaluate.tta] say.
STRATA_API inference::Member member_of(const Experiment& experiment, std::shared_ptr<Model> model);

/// What data sets are built with.
STRATA_API Dataset::Context dataset_context(const Experiment& experiment);
/// Samples of an optimizer step: batch size times accumulated batches; 0 without a training set.
STRATA_API std::int64_t samples_in_step(const Experiment& experiment);

/// Where a split's samples come from and what is done to each.
struct SplitSource {
  std::shared_ptr<const Dataset> dataset;
  std::vector<std::shared_ptr<const Transform>> transforms;
};
/// `cache`: memory to keep decoded samples in; null: none.
STRATA_API SplitSource open_split(const Experiment& experiment, const SplitOptions& split,
                                  const std::shared_ptr<MemoryBudget>& cache = nullptr);

/// The samples of a split: endless and shuffled for training, once in order otherwise.
STRATA_API std::unique_ptr<Loader> make_loader(const SplitSource& source,
                                               const Experiment& experiment,
                                               const SplitOptions& split, bool training);
STRATA_API std::unique_ptr<Loader> make_loader(const Experiment& experiment,
                                               const SplitOptions& split, bool training);

/// `freeze` over the model; null when nothing is frozen. Throws ConfigError, located, for a pattern
/// that matches nothing.
STRATA_API std::unique_ptr<optim::Freezer> build_freezer(const Experiment& experiment,
                                                         torch::nn::Module& model);
/// The parameter groups of each optimizer. Throws as build_freezer does.
STRATA_API std::vector<std::pair<std::string, optim::GroupPlan>> plan_trainers(
    const Experiment& experiment, const torch::nn::Module& model, const optim::Freezer* freezer);
/// Optimizers over these groups, with their schedules; `steps_in_epoch` may be 0, not known.
STRATA_API std::vector<Trainer> build_trainers(const Experiment& experiment,
                                               const torch::nn::Module& model,
                                               const optim::Freezer* freezer, std::int64_t steps,
                                               double steps_in_epoch = 0.0);

/// Everything that a training run needs, built; `experiment` must outlive it. `resume`: checkpoint
/// folder, or "".
STRATA_API std::unique_ptr<Runner> make_runner(const Experiment& experiment,
                                               const std::string& resume);

}  // namespace strata::engine
