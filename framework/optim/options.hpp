// What a config says about optimizers, schedules and frozen parts, as far as every type shares it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/schema.hpp"

namespace strata {

/// `[optimizer.paramwise.NAME]`: another learning rate or decay for the parameters that `match`.
struct ParamwiseRule {
  std::string match;
  double lr_mult = 1.0;
  double decay_mult = 1.0;
  bool exclusive = false;
  bool optional = false;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("match", &ParamwiseRule::match,
              "glob on parameter names: * inside a segment, ** any number of segments, a plain "
              "name is a prefix")
            .required(),
        field("lr_mult", &ParamwiseRule::lr_mult, "factor on the learning rate").at_least(0),
        field("decay_mult", &ParamwiseRule::decay_mult, "factor on the weight decay").at_least(0),
        field("exclusive", &ParamwiseRule::exclusive,
              "no other rule or preset applies to what this one matches"),
        field("optional", &ParamwiseRule::optional, "may match nothing")};
  }
};

/// Keys that every optimizer has. Optimizer options derive from this and join their own fields.
struct OptimizerOptions {
  double lr = 0.0;
  double weight_decay = 0.0;
  std::vector<std::string> params;
  config::Named<ParamwiseRule> paramwise;
  std::string paramwise_mode = "multiply";
  std::optional<double> norm_decay_mult;
  std::optional<double> bias_decay_mult;
  std::optional<double> layer_decay;
  std::optional<std::int64_t> base_batch_size;

  /// lr for so many samples a step; 0: not known, lr as it is.
  double scaled_lr(std::int64_t samples) const {
    if (!base_batch_size || samples <= 0) return lr;
    return lr * (static_cast<double>(samples) / static_cast<double>(*base_batch_size));
  }

  static auto fields() {
    using config::field;
    return std::tuple{
        field("lr", &OptimizerOptions::lr, "learning rate before schedule and multipliers")
            .required()
            .above(0),
        field("weight_decay", &OptimizerOptions::weight_decay, "weight decay before multipliers")
            .at_least(0),
        field("params", &OptimizerOptions::params,
              "globs of the parameters it trains, for one optimizer of several; left out: all")
            .one_or_many(),
        field("paramwise", &OptimizerOptions::paramwise,
              "named rules; the multipliers of all rules that match a parameter multiply"),
        field("paramwise_mode", &OptimizerOptions::paramwise_mode,
              "\"longest\": only the longest `match` that is a substring of the parameter's name "
              "counts, and switches the presets off (MMSegmentation's rule)")
            .one_of({"multiply", "longest"}),
        field("norm_decay_mult", &OptimizerOptions::norm_decay_mult,
              "factor on the weight decay of normalisation layers")
            .at_least(0),
        field("bias_decay_mult", &OptimizerOptions::bias_decay_mult,
              "factor on the weight decay of biases outside normalisation layers")
            .at_least(0),
        field("layer_decay", &OptimizerOptions::layer_decay,
              "factor on the learning rate for each layer of the backbone between a parameter and "
              "the backbone's output, its own included")
            .above(0)
            .at_most(1),
        field("base_batch_size", &OptimizerOptions::base_batch_size,
              "the samples a step for which `lr` was chosen: lr grows in proportion to the real "
              "number (batch size times accumulated batches); left out: lr is taken as it is")
            .at_least(1)};
  }
};

/// `[schedule.warmup]`: the learning rate rises from start_factor to 1 in a straight line.
struct WarmupOptions {
  std::int64_t steps = 0;
  double start_factor = 1e-6;

  static constexpr const char* shorthand = "steps";
  static auto fields() {
    using config::field;
    return std::tuple{
        field("steps", &WarmupOptions::steps, "length; the factor is 1 from this step on")
            .required()
            .at_least(0),
        field("start_factor", &WarmupOptions::start_factor, "factor of the first step")
            .at_least(0)
            .at_most(1)};
  }
};

/// Keys that every schedule has. Schedule options derive from this and join their own fields.
struct ScheduleOptions {
  std::optional<WarmupOptions> warmup;
  bool by_epoch = false;
  std::optional<std::int64_t> begin;
  std::optional<std::int64_t> end;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("warmup", &ScheduleOptions::warmup,
              "linear warm-up in front of the schedule: a number of steps, or a table"),
        field("by_epoch", &ScheduleOptions::by_epoch,
              "epochs instead of steps: begin, end and all that the schedule itself counts are "
              "epochs, and its factor changes with each epoch; the warm-up counts steps"),
        field("begin", &ScheduleOptions::begin,
              "step at which the schedule starts; left out: the end of the warm-up (by_epoch: 0)")
            .at_least(0),
        field("end", &ScheduleOptions::end,
              "step at which the schedule has run out; left out: the end of the run")
            .at_least(1)};
  }
};

/// One entry of `freeze`: a glob, or {pattern, until_step, optional}.
struct FreezeRule {
  std::string pattern;
  std::optional<std::int64_t> until_step;
  bool optional = false;

  static constexpr const char* shorthand = "pattern";
  static auto fields() {
    using config::field;
    return std::tuple{
        field("pattern", &FreezeRule::pattern,
              "glob on parameter and module names: * inside a segment, ** any number of segments, "
              "a plain name is a prefix")
            .required(),
        field("until_step", &FreezeRule::until_step, "trained from this step on; left out: never")
            .at_least(1),
        field("optional", &FreezeRule::optional, "may match nothing")};
  }
};

}  // namespace strata
