// The schedules, each PyTorch's closed form. With t steps of T done (warm-up not counted) and m the
// lowest factor:
//   PolyLR            m + (1 - m) (1 - t/T)^power
//   CosineAnnealingLR m + (1 - m) (1 + cos(pi t/T)) / 2
//   LinearLR          start + (end - start) t/T
//   StepLR            gamma^floor(t/step_size)
//   MultiStepLR       gamma^(milestones passed)
//   ConstantLR        factor
#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/optim/schedule.hpp"
#include "registry/component.hpp"

namespace strata::optim {

/// Keys of schedules that fall to a floor.
struct FloorOptions : ScheduleOptions {
  std::optional<double> min_lr;
  std::optional<double> min_lr_ratio;

  static auto fields() {
    using config::field;
    return config::join(
        ScheduleOptions::fields(),
        field("min_lr", &FloorOptions::min_lr,
              "the last learning rate, of parameters without a multiplier; others keep theirs")
            .at_least(0),
        field("min_lr_ratio", &FloorOptions::min_lr_ratio,
              "the last learning rate as a share of each group's own")
            .at_least(0)
            .at_most(1));
  }
};

namespace {

double floor_of(const FloorOptions& options, const Schedule::Context& context) {
  if (options.min_lr && options.min_lr_ratio) {
    throw OptionError("min_lr", "says the same as min_lr_ratio; give one of them");
  }
  if (!options.min_lr) return options.min_lr_ratio.value_or(0.0);
  if (*options.min_lr > context.base_lr) {
    throw OptionError("min_lr", "is above the optimizer's lr, " + std::to_string(context.base_lr) +
                                    ", got " + std::to_string(*options.min_lr) +
                                    "; min_lr_ratio follows the lr");
  }
  return *options.min_lr / context.base_lr;
}

double share(std::int64_t step, std::int64_t length) {
  return static_cast<double>(step) / static_cast<double>(length);
}

}  // namespace

struct PolyOptions : FloorOptions {
  double power = 1.0;
  static auto fields() {
    using config::field;
    return config::join(FloorOptions::fields(),
                        field("power", &PolyOptions::power, "1 is a straight line").above(0));
  }
};

class PolyLR final : public Schedule {
 public:
  PolyLR(const PolyOptions& options, const Context& context)
      : Schedule(options, context), power_(options.power), floor_(floor_of(options, context)) {}

 private:
  double main_factor(std::int64_t step) const override {
    return floor_ + (1.0 - floor_) * std::pow(1.0 - share(step, length()), power_);
  }
  double power_, floor_;
};

class CosineAnnealingLR final : public Schedule {
 public:
  CosineAnnealingLR(const FloorOptions& options, const Context& context)
      : Schedule(options, context), floor_(floor_of(options, context)) {}

 private:
  double main_factor(std::int64_t step) const override {
    return floor_ +
           (1.0 - floor_) * (1.0 + std::cos(std::numbers::pi * share(step, length()))) / 2.0;
  }
  double floor_;
};

struct LinearOptions : ScheduleOptions {
  double start_factor = 1.0;
  double end_factor = 0.0;
  static auto fields() {
    using config::field;
    return config::join(
        ScheduleOptions::fields(),
        field("start_factor", &LinearOptions::start_factor, "factor at the begin").at_least(0),
        field("end_factor", &LinearOptions::end_factor, "factor at the end").at_least(0));
  }
};

class LinearLR final : public Schedule {
 public:
  LinearLR(const LinearOptions& options, const Context& context)
      : Schedule(options, context), start_(options.start_factor), end_(options.end_factor) {}

 private:
  double main_factor(std::int64_t step) const override {
    return start_ + (end_ - start_) * share(step, length());
  }
  double start_, end_;
};

struct StepOptions : ScheduleOptions {
  std::int64_t step_size = 0;
  double gamma = 0.1;
  static auto fields() {
    using config::field;
    return config::join(ScheduleOptions::fields(),
                        field("step_size", &StepOptions::step_size, "steps between two drops")
                            .required()
                            .at_least(1),
                        field("gamma", &StepOptions::gamma, "factor of a drop").above(0));
  }
};

class StepLR final : public Schedule {
 public:
  StepLR(const StepOptions& options, const Context& context)
      : Schedule(options, context), step_size_(options.step_size), gamma_(options.gamma) {}

 private:
  double main_factor(std::int64_t step) const override {
    return std::pow(gamma_, static_cast<double>(step / step_size_));
  }
  std::int64_t step_size_;
  double gamma_;
};

struct MultiStepOptions : ScheduleOptions {
  std::vector<std::int64_t> milestones;
  double gamma = 0.1;
  static auto fields() {
    using config::field;
    return config::join(ScheduleOptions::fields(),
                        field("milestones", &MultiStepOptions::milestones,
                              "steps of the drops, counted from the begin of the schedule")
                            .required()
                            .not_empty()
                            .at_least(1),
                        field("gamma", &MultiStepOptions::gamma, "factor of a drop").above(0));
  }
};

class MultiStepLR final : public Schedule {
 public:
  MultiStepLR(const MultiStepOptions& options, const Context& context)
      : Schedule(options, context), milestones_(options.milestones), gamma_(options.gamma) {
    std::sort(milestones_.begin(), milestones_.end());
  }

 private:
  double main_factor(std::int64_t step) const override {
    const auto passed = std::upper_bound(milestones_.begin(), milestones_.end(), step);
    return std::pow(gamma_, static_cast<double>(passed - milestones_.begin()));
  }
  std::vector<std::int64_t> milestones_;
  double gamma_;
};

struct ConstantOptions : ScheduleOptions {
  double constant = 1.0;
  static auto fields() {
    using config::field;
    return config::join(ScheduleOptions::fields(), field("factor", &ConstantOptions::constant,
                                                         "factor at every step after the warm-up")
                                                       .above(0));
  }
};

class ConstantLR final : public Schedule {
 public:
  ConstantLR(const ConstantOptions& options, const Context& context)
      : Schedule(options, context), factor_(options.constant) {}

 private:
  double main_factor(std::int64_t) const override { return factor_; }
  double factor_;
};

}  // namespace strata::optim

STRATA_COMPONENTS(framework_optim_schedules) {
  using namespace strata::optim;
  using strata::Schedule;
  registry.add<Schedule, PolyLR, PolyOptions>("PolyLR", "polynomial decay");
  registry.add<Schedule, CosineAnnealingLR, FloorOptions>("CosineAnnealingLR",
                                                          "half a cosine from 1 to the floor");
  registry.add<Schedule, LinearLR, LinearOptions>("LinearLR", "a straight line");
  registry.add<Schedule, StepLR, StepOptions>("StepLR", "drops at equal distances");
  registry.add<Schedule, MultiStepLR, MultiStepOptions>("MultiStepLR", "drops at given steps");
  registry.add<Schedule, ConstantLR, ConstantOptions>("ConstantLR", "no change after the warm-up");
}
