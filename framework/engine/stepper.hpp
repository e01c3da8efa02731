// One optimizer step: batches, forward and backward, gradients clipped and applied.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "framework/engine/amp.hpp"
#include "framework/engine/runner.hpp"
#include "framework/engine/window.hpp"

namespace strata::engine {

/// What one step of a schedule does to an optimizer's learning rates.
inline double factor_of(const Trainer& trainer, std::int64_t step) {
  return trainer.schedule ? trainer.schedule->factor(step) : 1.0;
}

class Stepper {
 public:
  /// Both must outlive it.
  Stepper(RunParts& parts, const RunSettings& settings);

  /// `batch` batches of the run are used up.
  void seek(std::int64_t batch);
  std::int64_t batches() const { return batches_; }

  /// Takes all batches of a step from the source: how many of their pixels count must be known for
  /// the first of them.
  void load();
  /// Trains on them, `done` steps after the start of the run. False when gradients overflowed and
  /// the step was left out; its batches are used up. Throws UserError after too many of these.
  bool step(std::int64_t done);
  /// The last batch of the step and its losses, without graphs.
  const Batch& batch() const { return step_batches_[micro_]; }
  const Losses& losses() const { return losses_.back(); }

  /// The values of the steps since the last log line.
  Window& window() { return window_; }
  /// Throws UserError, naming value, step, files and the newest checkpoint (of step `saved`, -1:
  /// none), when one of them is not finite and train.on_nan does not ignore that. Waits for the
  /// device. `done`: steps so far.
  void check_finite(std::int64_t done, std::int64_t saved);
  /// A log line is written: its batches will not be blamed any more.
  void forget_batches() { read_.clear(); }

  std::optional<GradScaler>& scaler() { return scaler_; }
  const std::optional<GradScaler>& scaler() const { return scaler_; }
  /// Whether a value can be read at no cost.
  bool device_waits() const { return settings_.device.is_cpu(); }

 private:
  class Context;

  void update(const Trainer& trainer);
  void step_by_name(const std::string& name);
  bool left_out();

  RunParts& parts_;
  const RunSettings& settings_;
  std::optional<at::ScalarType> amp_;
  std::optional<GradScaler> scaler_;
  std::vector<Batch> step_batches_;                        // of the step under way, all of them
  std::vector<Losses> losses_;                             // of these
  std::size_t micro_ = 0;                                  // which of them the model is given
  bool overflow_ = false;                                  // in the step under way
  std::int64_t updates_ = 0;                               // of optimizers, in the step under way
  std::set<std::string> stepped_;                          // optimizers, by the model itself in it
  int skips_ = 0;                                          // steps left out in a row
  std::deque<std::pair<std::int64_t, std::string>> read_;  // batches since the last log line
  Window window_;
  std::int64_t done_ = 0;     // steps before the one under way
  std::int64_t batches_ = 0;  // taken from the source, whole run
};

}  // namespace strata::engine
