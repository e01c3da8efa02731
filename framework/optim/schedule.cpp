#include "framework/optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "framework/base/error.hpp"

namespace strata {
namespace {

// An epoch need not be a whole number of steps, and steps / (samples / samples in a step) may come
// out a rounding beside the whole number that it is. Epochs differ by far more.
constexpr double kRounding = 1e-9;

}  // namespace

Schedule::Schedule(const ScheduleOptions& options, const Context& context)
    : warmup_(options.warmup.value_or(WarmupOptions{})) {
  if (options.by_epoch) {
    if (context.steps_in_epoch <= 0) {
      throw OptionError("by_epoch", "the length of an epoch is not known here; count in steps");
    }
    steps_in_unit_ = context.steps_in_epoch;
  }
  begin_ = options.begin.value_or(options.by_epoch ? 0 : warmup_.steps);
  const std::int64_t end = options.end.value_or(static_cast<std::int64_t>(
      std::ceil(static_cast<double>(context.steps) / steps_in_unit_ - kRounding)));
  // A run cut short, down to its warm-up, is no mistake; two numbers that contradict each other
  // are.
  if (options.end && end <= begin_) {
    throw OptionError("end", std::string("the schedule ends before it begins at ") +
                                 (options.by_epoch ? "epoch " : "step ") + std::to_string(begin_) +
                                 ", got " + std::to_string(end));
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
  const auto now =
      static_cast<std::int64_t>(static_cast<double>(step) / steps_in_unit_ + kRounding);
  if (now >= begin_) factor *= main_factor(std::min(now - begin_, length_));
  return factor;
}

}  // namespace strata
