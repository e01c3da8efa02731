// The schedules, each PyTorch's closed form. With t steps of T done (warm-up not counted) and m the
// lowest factor:
//   PolyLR            m + (1 - m) (1 - t/T)^power
//   CosineAnnealingLR m + (1 - m) (1 + cos(pi t/T)) / 2
//   LinearLR          start + (end - start) t/T
//   StepLR            gamma^floor(t/step_size)
//   MultiStepLR       gamma^(milestones passed)
//   ExponentialLR     gamma^t
//   CosineRestartLR   m + (weight - m) (1 + cos(pi s/P)) / 2, s steps into a period of P
//   OneCycleLR        up from 1/div_factor to 1, then down (Smith and Topin, 2018)
//   ConstantLR        factor
// SequentialLR puts several behind each other.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
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
    throw OptionError("min_lr", fmt::format("is above the optimizer's lr, {}, got {}; min_lr_ratio "
                                            "follows the lr",
                                            context.base_lr, *options.min_lr));
  }
  return *options.min_lr / context.base_lr;
}

/// From `high` to `low` while `share` goes from 0 to 1, along half a cosine.
double cosine(double high, double low, double share) {
  return low + (high - low) * (1.0 + std::cos(std::numbers::pi * share)) / 2.0;
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
    return cosine(1.0, floor_, share(step, length()));
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

struct ExponentialOptions : ScheduleOptions {
  double gamma = 0.0;
  static auto fields() {
    using config::field;
    return config::join(ScheduleOptions::fields(),
                        field("gamma", &ExponentialOptions::gamma, "factor of each step or epoch")
                            .required()
                            .above(0));
  }
};

class ExponentialLR final : public Schedule {
 public:
  ExponentialLR(const ExponentialOptions& options, const Context& context)
      : Schedule(options, context), gamma_(options.gamma) {}

 private:
  double main_factor(std::int64_t step) const override {
    return std::pow(gamma_, static_cast<double>(step));
  }
  double gamma_;
};

struct CosineRestartOptions : FloorOptions {
  std::vector<std::int64_t> periods;
  std::vector<double> restart_weights = {1.0};
  static auto fields() {
    using config::field;
    using O = CosineRestartOptions;
    return config::join(
        FloorOptions::fields(),
        field("periods", &O::periods,
              "lengths of the cosines, one after the other; behind the last one the factor stays "
              "at the floor")
            .required()
            .not_empty()
            .at_least(1),
        field("restart_weights", &O::restart_weights,
              "factor that each period starts with: one number, or one a period")
            .one_or_many()
            .not_empty()
            .above(0));
  }
};

class CosineRestartLR final : public Schedule {
 public:
  CosineRestartLR(const CosineRestartOptions& options, const Context& context)
      : Schedule(options, context),
        periods_(options.periods),
        weights_(options.restart_weights),
        floor_(floor_of(options, context)) {
    if (weights_.size() == 1) weights_.resize(periods_.size(), weights_.front());
    if (weights_.size() != periods_.size()) {
      throw OptionError("restart_weights", "needs one number, or one for each of the " +
                                               std::to_string(periods_.size()) + " periods, got " +
                                               std::to_string(weights_.size()));
    }
  }

 private:
  double main_factor(std::int64_t step) const override {
    for (std::size_t i = 0; i < periods_.size(); ++i) {
      if (step < periods_[i]) return cosine(weights_[i], floor_, share(step, periods_[i]));
      step -= periods_[i];
    }
    return floor_;
  }
  std::vector<std::int64_t> periods_;
  std::vector<double> weights_;
  double floor_;
};

struct OneCycleOptions : ScheduleOptions {
  double pct_start = 0.3;
  std::string anneal_strategy = "cos";
  double div_factor = 25.0;
  double final_div_factor = 1e4;
  bool three_phase = false;
  static auto fields() {
    using config::field;
    using O = OneCycleOptions;
    return config::join(
        ScheduleOptions::fields(),
        field("pct_start", &O::pct_start, "share of the schedule in which the rate rises")
            .above(0)
            .below(1),
        field("anneal_strategy", &O::anneal_strategy, "along half a cosine, or in a straight line")
            .one_of({"cos", "linear"}),
        field("div_factor", &O::div_factor,
              "the first rate is the optimizer's lr, the peak, by this")
            .at_least(1),
        field("final_div_factor", &O::final_div_factor, "the last rate is the first one by this")
            .at_least(1),
        field("three_phase", &O::three_phase,
              "fall to the first rate in as many steps as it took to rise, then to the last one"));
  }
};

/// The number of steps counts as PyTorch's total_steps: the last rate is that of the last step.
class OneCycleLR final : public Schedule {
 public:
  OneCycleLR(const OneCycleOptions& options, const Context& context)
      : Schedule(options, context), cosine_(options.anneal_strategy == "cos") {
    const double first = 1.0 / options.div_factor, last = first / options.final_div_factor;
    const auto total = static_cast<double>(length());
    const double rise = options.pct_start * total - 1;
    if (options.three_phase) {
      phases_ = {{rise, first, 1.0}, {2 * rise, 1.0, first}, {total - 1, first, last}};
    } else {
      phases_ = {{rise, first, 1.0}, {total - 1, 1.0, last}};
    }
  }

 private:
  struct Phase {
    double end, from, to;
  };
  double main_factor(std::int64_t step) const override {
    double begin = 0.0;
    for (const Phase& phase : phases_) {
      // In a short run a phase may have no length: nothing to divide by, and no step is in it.
      if (phase.end > begin && static_cast<double>(step) <= phase.end) {
        const double done = (static_cast<double>(step) - begin) / (phase.end - begin);
        return cosine_ ? cosine(phase.from, phase.to, done)
                       : phase.from + (phase.to - phase.from) * done;
      }
      begin = phase.end;
    }
    return phases_.back().to;
  }
  bool cosine_;
  std::vector<Phase> phases_;
};

struct SequentialOptions : ScheduleOptions {
  std::vector<Slot<Schedule>> schedules;
  std::vector<std::int64_t> milestones;
  static auto fields() {
    using config::field;
    using O = SequentialOptions;
    return config::join(
        ScheduleOptions::fields(),
        field("schedules", &O::schedules,
              "schedules, one after the other; each begins and counts anew at its milestone")
            .required()
            .not_empty(),
        field("milestones", &O::milestones,
              "where the second and each later one begins, counted from the begin of the whole")
            .required()
            .at_least(1));
  }
};

class SequentialLR final : public Schedule {
 public:
  SequentialLR(const SequentialOptions& options, const Context& context)
      : Schedule(options, context), milestones_(options.milestones) {
    if (milestones_.size() + 1 != options.schedules.size()) {
      throw OptionError("milestones", "must be one less than the schedules, which are " +
                                          std::to_string(options.schedules.size()) + ", got " +
                                          std::to_string(milestones_.size()));
    }
    const auto falls =
        std::adjacent_find(milestones_.begin(), milestones_.end(), std::greater_equal<>());
    if (falls != milestones_.end()) {
      throw OptionError("milestones", "must rise");
    }
    for (std::size_t i = 0; i < options.schedules.size(); ++i) {
      const std::int64_t begin = i == 0 ? 0 : milestones_[i - 1];
      const std::int64_t end =
          i < milestones_.size() ? milestones_[i] : std::max(length(), begin + 1);
      parts_.push_back(
          options.schedules[i].build({.steps = end - begin, .base_lr = context.base_lr}));
    }
  }

 private:
  double main_factor(std::int64_t step) const override {
    const auto part = static_cast<std::size_t>(
        std::upper_bound(milestones_.begin(), milestones_.end(), step) - milestones_.begin());
    return parts_[part]->factor(step - (part == 0 ? 0 : milestones_[part - 1]));
  }
  std::vector<std::int64_t> milestones_;
  std::vector<std::shared_ptr<Schedule>> parts_;
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
  registry.add<Schedule, ExponentialLR, ExponentialOptions>("ExponentialLR",
                                                            "the same factor at every step");
  registry.add<Schedule, CosineRestartLR, CosineRestartOptions>("CosineRestartLR",
                                                                "cosines that start again");
  registry.add<Schedule, OneCycleLR, OneCycleOptions>(
      "OneCycleLR", "up to the optimizer's lr and far down again");
  registry.add<Schedule, SequentialLR, SequentialOptions>("SequentialLR",
                                                          "schedules one after the other");
  registry.add<Schedule, ConstantLR, ConstantOptions>("ConstantLR", "no change after the warm-up");
}
