// The training loop. It knows no config: what it runs on is handed to it whole, so that tests can
// run it on anything.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/engine/hook.hpp"
#include "framework/engine/options.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/parameters.hpp"
#include "framework/optim/schedule.hpp"

namespace strata::engine {

/// Endless batches; which ones depends on their number alone.
class STRATA_API BatchSource {
 public:
  virtual ~BatchSource();
  virtual Batch next() = 0;
  /// The next batch will be number `batch`, counted from 0 at the start of the run.
  virtual void seek(std::int64_t batch) = 0;
  /// Seconds that next() has waited so far.
  virtual double seconds_waited() const { return 0.0; }
};

/// An optimizer with its schedule.
struct Trainer {
  std::string name;  // "" for the only one
  std::shared_ptr<Optimizer> optimizer;
  std::shared_ptr<Schedule> schedule;  // null: constant
};

struct RunParts {
  std::shared_ptr<Model> model;             // on its device, in its memory format
  std::vector<Trainer> trainers;            // built on the model's parameters
  std::unique_ptr<optim::Freezer> freezer;  // may be null
  std::unique_ptr<BatchSource> batches;
  /// Called with every batch of a validation, the name of its set and what the model makes of it.
  using Visitor = std::function<void(const std::string& set, const Batch&, const Outputs&)>;
  /// Measures the model, which is in eval mode; gives up, with any result, once `cancelled` says
  /// so. Empty: there is nothing to validate on.
  std::function<Scores(const std::function<bool()>& cancelled, const Visitor& visit)> validate;
  /// The newest validation's numbers by class, as text for the log file; may be empty.
  std::function<std::string()> tables{};
  std::vector<std::pair<std::string, std::shared_ptr<Hook>>> hooks;
};

struct RunSettings {
  std::int64_t steps = 0;             // optimizer steps of the run
  std::int64_t samples_in_epoch = 0;  // 0: epochs are not counted
  std::int64_t batch_size = 1;
  std::int64_t validation_interval = 0;  // 0: only after the last step
  TrainOptions train;
  std::string best;  // score that decides; "": the first
  std::string best_rule = "auto";
  std::uint64_t seed = 0;
  c10::Device device = c10::kCPU;
  bool channels_last = false;
  std::string work_dir;
  std::string config;  // resolved, TOML
  std::vector<std::string> plugins;
  /// Further files of the work dir, written when the run starts: names and contents.
  std::vector<std::pair<std::string, std::string>> notes;
  /// Checkpoint folder to go on from; "": a new run.
  std::string resume;
};

enum class RunEnd { finished, stopped, interrupted };

class STRATA_API Runner {
 public:
  Runner(RunParts parts, RunSettings settings);
  ~Runner();

  /// Trains to the end, or until train.stop_at, a hook's wish (stopped) or SIGINT or SIGTERM
  /// (interrupted; a second one ends the process at once). There is a checkpoint of the last step
  /// in every case. Throws UserError when a loss is not finite or files cannot be written.
  RunEnd run();

  const RunState& state() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Optimizer steps of a run: train.steps, or those of train.epochs. Throws OptionError (relative to
/// `train`) unless exactly one is given.
STRATA_API std::int64_t steps_of(const TrainOptions& train, std::int64_t samples_in_epoch,
                                 std::int64_t batch_size);
/// Steps between validations as `evaluate` says.
STRATA_API std::int64_t validation_interval(const EvaluateOptions& evaluate,
                                            const TrainOptions& train, std::int64_t steps,
                                            std::int64_t samples_in_epoch, std::int64_t batch_size);

}  // namespace strata::engine
