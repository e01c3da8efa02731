// Scalars and pictures for TensorBoard. On by default (`train.tensorboard`).
#pragma once

#include <optional>

#include "framework/engine/hook.hpp"
#include "framework/io/event_file.hpp"

namespace strata::engine {

/// One event file a process in work_dir/tensorboard; a resumed run has TensorBoard forget what it
/// is about to do again. Tags are those of scalars.jsonl.
class STRATA_API TensorboardHook final : public Hook {
 public:
  int priority() const override { return 90; }  // after those that make pictures
  void before_run(RunState& state) override;
  void after_log(RunState& state, const Numbers& numbers) override;
  void after_validation(RunState& state) override;

 private:
  std::optional<io::EventFile> file_;
};

}  // namespace strata::engine
