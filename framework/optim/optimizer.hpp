// Optimizers update parameters in groups of equal settings.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "framework/optim/options.hpp"
#include "registry/component.hpp"

namespace strata {

/// Parameters with the same learning rate and weight decay.
struct ParameterGroup {
  std::vector<std::string> names;  // in the model, parallel to `parameters`
  std::vector<at::Tensor> parameters;
  double lr = 0.0;            // multipliers included, the schedule not
  double weight_decay = 0.0;  // multipliers included
};

class STRATA_API Optimizer {
 public:
  static constexpr const char* kind = "optimizer";
  struct Context {
    std::vector<ParameterGroup> groups;
  };
  struct Statics {
    const OptimizerOptions& (*common)(const void* options);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options) -> const OptimizerOptions& {
      return *static_cast<const Options*>(options);
    }};
  }
  virtual ~Optimizer();

  /// Updates every parameter that has a gradient; the learning rate of a group is group.lr ×
  /// factor. State of a parameter begins (all zero) at the first step in which it has a gradient.
  virtual void step(double factor) = 0;

  /// State by "<parameter>.<kind of state>" ("head.conv.weight.exp_avg"), tensors that alias the
  /// optimizer's own. Empty for parameters that were never stepped.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
  /// Replaces the state by what state() gave (copied, in the layout of the parameter). Throws
  /// CheckpointError naming the first entry that is unknown or has another shape.
  virtual void load_state(const std::vector<std::pair<std::string, at::Tensor>>& state) = 0;

  const std::vector<ParameterGroup>& groups() const { return groups_; }
  /// Drops all gradients.
  void zero_grad();

 protected:
  explicit Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {}
  std::vector<ParameterGroup> groups_;
};

}  // namespace strata
