// Exponential moving average of the weights (Polyak and Juditsky, 1992), kept beside the model:
// validation and the best checkpoint are the average's, training never sees it.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_lerp.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "framework/engine/hook.hpp"
#include "framework/io/weights.hpp"
#include "registry/component.hpp"

namespace strata::engine {

struct EmaOptions {
  double momentum = 0.0002;
  std::optional<double> gamma;
  std::int64_t interval = 1;
  std::int64_t begin = 0;
  bool update_buffers = false;
  bool evaluate = true;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("momentum", &EmaOptions::momentum,
              "share of the newest weights: average = (1 - momentum) average + momentum weights")
            .above(0)
            .below(1),
        field("gamma", &EmaOptions::gamma,
              "a larger share at first: max(momentum, gamma / (gamma + updates))")
            .above(0),
        field("interval", &EmaOptions::interval, "steps between updates").at_least(1),
        field("begin", &EmaOptions::begin, "up to this step the average is a copy of the weights")
            .at_least(0),
        field("update_buffers", &EmaOptions::update_buffers,
              "average batch statistics too; otherwise the newest are taken, averages themselves"),
        field("evaluate", &EmaOptions::evaluate,
              "validate with the average; test and predict then take it from the checkpoint")};
  }
};

class EmaHook final : public Hook {
 public:
  EmaHook(const EmaOptions& options, const Context&) : options_(options) {}

  void before_run(RunState& state) override {
    const at::NoGradGuard no_grad;
    std::set<std::string> parameters;
    for (const auto& item : state.model->named_parameters()) parameters.insert(item.key());
    for (const auto& [name, tensor] : io::state_of(*state.model)) {
      // In the layout of the original: elementwise kernels then walk both in the same order.
      at::Tensor average = tensor.detach().clone();
      for (const auto& [loaded_name, loaded] : loaded_) {
        if (loaded_name == name) average.copy_(loaded);
      }
      const bool averaged =
          tensor.is_floating_point() && (options_.update_buffers || parameters.count(name) > 0);
      Part& part = averaged ? averaged_ : copied_;
      part.names.push_back(name);
      part.originals.push_back(tensor);
      part.averages.push_back(std::move(average));
      all_.emplace_back(name, part.averages.back());
    }
    loaded_.clear();
  }

  void after_step(RunState& state) override {
    if (state.step % options_.interval != 0) return;
    const at::NoGradGuard no_grad;
    if (state.step <= options_.begin) {
      at::_foreach_copy_(averaged_.averages, averaged_.originals);
    } else {
      ++updates_;
      at::_foreach_lerp_(averaged_.averages, averaged_.originals, momentum());
    }
  }

  std::shared_ptr<void> during_validation(RunState&) override {
    if (!options_.evaluate) return nullptr;
    // The model's tensors look at the averages' memory for a while: nothing is copied, and the
    // optimizers, which hold the tensors themselves, notice nothing.
    for (std::size_t i = 0; i < averaged_.names.size(); ++i) {
      own_.push_back(averaged_.originals[i].detach());
      averaged_.originals[i].set_data(averaged_.averages[i]);
    }
    return {this, [](EmaHook* hook) { hook->take_back(); }};
  }

  std::string save_state() const override { return std::to_string(updates_); }
  void load_state(const std::string& text) override { updates_ = std::stoll(text); }
  /// A whole state dict; what is not averaged is as it is in the model now.
  TensorMap save_tensors() const override {
    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < copied_.names.size(); ++i) {
      copied_.averages[i].copy_(copied_.originals[i]);
    }
    return all_;
  }
  void load_tensors(const TensorMap& tensors) override { loaded_ = tensors; }
  bool gives_weights() const override { return options_.evaluate; }

 private:
  struct Part {
    std::vector<std::string> names;
    std::vector<at::Tensor> originals, averages;  // parallel; originals are the model's own
  };

  double momentum() const {
    if (!options_.gamma) return options_.momentum;
    return std::max(options_.momentum,
                    *options_.gamma / (*options_.gamma + static_cast<double>(updates_)));
  }
  void take_back() {
    for (std::size_t i = 0; i < own_.size(); ++i) averaged_.originals[i].set_data(own_[i]);
    own_.clear();
  }

  EmaOptions options_;
  std::int64_t updates_ = 0;
  Part averaged_, copied_;
  TensorMap all_, loaded_;
  std::vector<at::Tensor> own_;  // what the originals hold, while they look at the averages
};

}  // namespace strata::engine

STRATA_COMPONENTS(framework_engine_hooks_ema) {
  using namespace strata::engine;
  registry.add<strata::Hook, EmaHook, EmaOptions>(
      "EMAHook", "keeps a moving average of the weights and validates with it");
}
