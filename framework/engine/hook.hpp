// Hooks watch and steer a run.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/metrics/metric.hpp"
#include "framework/model/model.hpp"
#include "registry/component.hpp"

namespace strata {

/// A picture that a hook made, [H, W, 3] uint8 RGB.
struct Picture {
  std::string name;  // "val/0004"
  at::Tensor pixels;
};

/// What hooks see of a run. Tensors in `losses` stay on their device: read them lazily.
struct RunState {
  std::string work_dir;
  std::int64_t step = 0;   // optimizer steps done
  std::int64_t steps = 0;  // of the whole run
  std::int64_t epoch = 0;
  Model* model = nullptr;
  const Batch* batch = nullptr;          // of the step's last (micro-)batch
  const Losses* losses = nullptr;        // of that batch, without graphs
  Scores scores;                         // of the newest validation
  std::map<std::string, double> logged;  // values hooks add to this step's log line
  std::vector<Picture> pictures;         // of the newest validation, made by hooks
  bool resumed = false;                  // this process goes on with an earlier one's run
  bool stop = false;                     // set by a hook to end the run after this step
};

class STRATA_API Hook {
 public:
  static constexpr const char* kind = "hook";
  struct Context {
    std::string name;  // key under [hooks]
  };
  struct Statics {
    /// The score that it follows, which a metric must give; "" for none.
    std::string (*monitor)(const void* options);
  };
  /// A hook that follows a score says which: static std::string monitor_of(const Options&).
  template <class Component, class Options>
  static Statics statics() {
    return {[]([[maybe_unused]] const void* options) -> std::string {
      if constexpr (requires(const Options& own) { Component::monitor_of(own); }) {
        return Component::monitor_of(*static_cast<const Options*>(options));
      } else {
        return "";
      }
    }};
  }
  virtual ~Hook();

  /// Order among hooks at the same point: 0 first … 100 last.
  virtual int priority() const { return 50; }
  /// The run is set up, and resumed if it is to be.
  virtual void before_run(RunState&) {}
  /// Once more when the step before was left out (see GradScaler).
  virtual void before_step(RunState&) {}
  virtual void after_step(RunState&) {}
  /// Called before each validation. What it returns lives until that is over, however it ends: its
  /// destructor takes back what was done to the model. Of several hooks the last is the first to.
  virtual std::shared_ptr<void> during_validation(RunState&) { return nullptr; }
  /// A batch of a validation and what the model made of it; `set` is "" for the only set.
  virtual void on_validation_batch(RunState&, const std::string& set, const Batch& batch,
                                   const Outputs& outputs) {
    (void)set, (void)batch, (void)outputs;
  }
  /// The validation is complete; not called when it was interrupted.
  virtual void after_validation(RunState&) {}
  /// The numbers of a line of scalars.jsonl: "lr", "loss", …, or "val.miou", …
  using Numbers = std::vector<std::pair<std::string, double>>;
  virtual void after_log(RunState&, const Numbers&) {}
  virtual void after_run(RunState&) {}

  /// State that a resumed run continues from; "" when there is none.
  virtual std::string save_state() const { return ""; }
  virtual void load_state(const std::string& state) { (void)state; }
  /// The same for tensors: the checkpoint's file <name>.safetensors, if there are any.
  virtual TensorMap save_tensors() const { return {}; }
  /// Called before before_run.
  virtual void load_tensors(const TensorMap& tensors) { (void)tensors; }
  /// Whether save_tensors() is a whole state of the model, and the one that validation measures.
  virtual bool gives_weights() const { return false; }
};

}  // namespace strata
