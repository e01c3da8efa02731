// Hooks watch and steer a run.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "framework/metrics/metric.hpp"
#include "framework/model/model.hpp"
#include "registry/component.hpp"

namespace strata {

/// What hooks see of a run. Tensors in `losses` stay on their device: read them lazily.
struct RunState {
  std::string work_dir;
  std::int64_t step = 0;   // optimizer steps done
  std::int64_t steps = 0;  // of the whole run
  std::int64_t epoch = 0;
  Model* model = nullptr;
  const Batch* batch = nullptr;    // of the step's last (micro-)batch
  const Losses* losses = nullptr;  // of that batch
  Scores scores;                        // of the newest validation
  std::map<std::string, double> logged; // values hooks add to this step's log line
  bool stop = false;                    // set by a hook to end the run after this step
};

class STRATA_API Hook {
 public:
  static constexpr const char* kind = "hook";
  struct Context {
    std::string name;  // key under [hooks]
  };
  virtual ~Hook();

  /// Order among hooks at the same point: 0 first … 100 last.
  virtual int priority() const { return 50; }
  virtual void before_run(RunState&) {}
  virtual void before_step(RunState&) {}
  virtual void after_step(RunState&) {}
  virtual void after_validation(RunState&) {}
  virtual void after_run(RunState&) {}
  /// State that a resumed run continues from; "" when there is none.
  virtual std::string save_state() const { return ""; }
  virtual void load_state(const std::string& state) { (void)state; }
};

}  // namespace strata
