// From an experiment to its parts: the one place where config meets loader, model and runner.
#pragma once

#include <functional>
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

/// The samples of a split: endless and shuffled for training, once in order otherwise.
STRATA_API std::unique_ptr<Loader> make_loader(const Experiment& experiment,
                                               const SplitOptions& split, bool training);

/// data.reader, or without it ImageReader.
STRATA_API std::shared_ptr<Reader> make_reader(const Experiment& experiment,
                                               const Registry& registry);

/// `model` (on the experiment's device) served as [evaluate.inference] and [evaluate.tta] say.
STRATA_API inference::Member member_of(const Experiment& experiment, std::shared_ptr<Model> model);

/// Called with every evaluated batch.
using Visitor = std::function<void(const std::string& set, const Batch&, const Outputs&)>;

/// Measures models on the sets of a split, again and again: files are listed once.
class STRATA_API Evaluator {
 public:
  /// `cache`: memory to keep decoded samples in from one run to the next; null: none.
  Evaluator(const Experiment& experiment, const SplitSets& splits,
            const std::shared_ptr<MemoryBudget>& cache = nullptr);
  ~Evaluator();

  /// Scores of what `predictor` predicts (its models in eval mode), names prefixed with "<set>." of
  /// named sets. Stops early, with what it has, once `cancelled` says so.
  Scores run(const inference::Predictor& predictor,
             const std::function<bool()>& cancelled = nullptr, const Visitor& visit = nullptr);
  /// The metrics' tables of the last run.
  std::string tables() const;

 private:
  struct Set;
  const Experiment& experiment_;
  std::vector<std::unique_ptr<Set>> sets_;
};

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

/// Everything that a training run needs, built. `resume`: checkpoint folder, or "".
STRATA_API std::unique_ptr<Runner> make_runner(const Experiment& experiment,
                                               const std::string& resume);

}  // namespace strata::engine
