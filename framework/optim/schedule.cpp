#include "framework/optim/schedule.hpp"

#include <algorithm>
#include <string>

#include "framework/base/error.hpp"

namespace strata {

Schedule::Schedule(const ScheduleOptions& options, const Context& context)
    : warmup_(options.warmup.value_or(WarmupOptions{})) {
  begin_ = options.begin.value_or(warmup_.steps);
  const std::int64_t end = options.end.value_or(context.steps);
  // A run cut short, down to its warm-up, is no mistake; two numbers that contradict each other
  // are.
  if (options.end && end <= begin_) {
    throw OptionError("end", "the schedule ends before it begins at step " +
                                 std::to_string(begin_) + ", got " + std::to_string(end));
  }
  length_ = std::max<std::int64_t>(end - begin_, 1);
}

Schedule::~Schedule() = default;

double Schedule::factor(std::int64_t step) const {
  double factor = 1.0;
  if (step < warmup_.steps) {
    factor = warmup_.start_factor + (1.0 - warmup_.start_factor) * static_cast<double>(step) /
                                        static_cast<double>(warmup_.steps);
  }
  if (step >= begin_) factor *= main_factor(std::min(step - begin_, length_));
  return factor;
}

}  // namespace strata
