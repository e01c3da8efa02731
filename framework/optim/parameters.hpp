// Which parameters an optimizer trains, and with which settings: the rules of
// [optimizer.paramwise], the presets, and `freeze`.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/optim/optimizer.hpp"
#include "framework/optim/options.hpp"

namespace strata::optim {

/// A parameter as the rules see it.
struct ModelParameter {
  std::string name;
  at::Tensor tensor;
  bool norm = false;       // scale or shift of a normalisation layer
  std::int64_t depth = 0;  // of a backbone with layers(): how many lie between it and the features,
                           // its own included; 0 elsewhere
};

/// Every parameter once, in registration order (a shared one under its first name).
STRATA_API std::vector<ModelParameter> parameters_of(const torch::nn::Module& model);

/// `freeze`: parameters that are not trained, until a step or for good. Never cuts the graph: a
/// frozen part still passes gradients to what is in front of it.
class STRATA_API Freezer {
 public:
  /// Throws OptionError("<index>", …), relative to `freeze`, for a pattern that matches neither a
  /// parameter nor a module.
  Freezer(std::vector<FreezeRule> rules, torch::nn::Module& model);

  /// To call when `step` steps are done: parameters that a rule freezes then need no gradient (and
  /// lose the one they hold), those that it has let go need one again. What no rule matches stays
  /// as the model made it. True when anything changed.
  bool apply(std::int64_t step);
  /// To call after model.train(): frozen modules go back to eval mode, so that batch statistics
  /// stay and dropout is off.
  void fix_modes(std::int64_t step);

  bool frozen(const std::string& parameter, std::int64_t step) const;
  /// Frozen to the end of the run.
  bool frozen_for_good(const std::string& parameter) const;
  bool empty() const { return rules_.empty(); }

 private:
  bool active(const FreezeRule& rule, std::int64_t step) const;

  std::vector<FreezeRule> rules_;
  torch::nn::Module& model_;
  std::vector<ModelParameter> parameters_;
  std::vector<std::int64_t> until_;  // step from which each of them is trained
};

/// Whether it is trained at any step of the run: neither frozen for good nor made constant by the
/// model. `freezer` may be null.
STRATA_API bool learns(const ModelParameter& parameter, const Freezer* freezer);

/// The groups of one optimizer and how they came about.
struct GroupPlan {
  std::vector<ParameterGroup> groups;  // parameters of equal settings share one
  std::string table;  // rules → tensors, parameters, lr, decay; lines of equal columns
  double lr = 0.0;    // the optimizer's, scaled with the batch if asked for
};

/// Applies the rules to those of `parameters` that `options.params` selects and `freezer` (may be
/// null) does not hold for good. Throws OptionError(key, …), relative to the optimizer, for a
/// pattern that matches no parameter and is not optional, or when nothing is left to train.
/// `samples` a step are what options.base_batch_size is compared with.
STRATA_API GroupPlan plan_groups(const std::vector<ModelParameter>& parameters,
                                 const OptimizerOptions& options, const Freezer* freezer,
                                 std::int64_t samples = 0);

}  // namespace strata::optim
