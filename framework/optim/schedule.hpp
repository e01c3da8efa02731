// Schedules: a factor on the learning rate as a function of the step, nothing remembered.
#pragma once

#include <cstdint>

#include "framework/optim/options.hpp"
#include "registry/component.hpp"

namespace strata {

class STRATA_API Schedule {
 public:
  static constexpr const char* kind = "schedule";
  struct Context {
    std::int64_t steps = 0;       // optimizer steps of the whole run
    double base_lr = 1.0;         // `lr` of the optimizer, by which absolute values are divided
    double steps_in_epoch = 0.0;  // 0: not known, and a schedule by epochs is refused
  };
  virtual ~Schedule();

  /// The factor for the step after `step` optimizer steps (the first step of a run has 0), warm-up
  /// included. The same for every group, so that multipliers keep their meaning to the end.
  double factor(std::int64_t step) const;

 protected:
  Schedule(const ScheduleOptions& options, const Context& context);
  /// Factor of the main schedule, `step` (or epoch) counted from its begin: 0 … length().
  virtual double main_factor(std::int64_t step) const = 0;
  std::int64_t begin() const { return begin_; }
  std::int64_t length() const { return length_; }

 private:
  WarmupOptions warmup_;
  double steps_in_unit_ = 1.0;  // what begin_ and length_ count: steps, or epochs of so many
  std::int64_t begin_ = 0;
  std::int64_t length_ = 1;
};

}  // namespace strata
