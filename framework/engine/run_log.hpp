// The numbers of a run: scalars.jsonl, the same bytes for the same run; timing.jsonl, what differs
// from machine to machine; and lines for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/engine/hook.hpp"
#include "framework/engine/progress.hpp"
#include "framework/engine/runner.hpp"
#include "framework/engine/work_dir.hpp"

namespace strata::engine {

class RunLog {
 public:
  /// `settings` must outlive it.
  explicit RunLog(const RunSettings& settings) : settings_(settings) {}

  /// Opens the files, which keep their lines up to step `kept` (-1: none), those of the work dir
  /// `history` if it is not empty. The run goes on from `step`.
  void open(std::int64_t step, std::int64_t kept, const std::string& history);

  Pace& pace() { return pace_; }
  /// What a run costs before it trains: the first batch is there, the model is about to run. Only
  /// the first call counts.
  void begin_training(std::int64_t step);
  /// Progress bar on a terminal.
  void show(const RunState& state);

  using Numbers = Hook::Numbers;
  /// A line on the steps since the last one: learning rates and means by name; `waited` seconds for
  /// data since the start of the process. Gives what hooks are told.
  Numbers add_step(const RunState& state, const Numbers& rates, const Numbers& means,
                   double waited);
  /// The same on a validation, `seconds` long; `tables` go to the log file only.
  Numbers add_validation(const RunState& state, double seconds, const std::string& tables);

 private:
  const RunSettings& settings_;
  Pace pace_;
  std::optional<JsonLines> scalars_, timing_;
  Pace::Clock::time_point shown_{};
  std::int64_t logged_ = 0;  // step of the newest line, or where this process began
  double waited_ = 0.0;      // for data, up to the newest line
  std::string running_loss_;
  bool training_ = false;
};

/// As log lines show it.
std::string number_text(double value);

}  // namespace strata::engine
