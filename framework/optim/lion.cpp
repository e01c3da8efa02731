// Lion (Chen et al., NeurIPS 2023): the sign of an interpolated momentum, decoupled weight decay.
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sign.h>

#include "framework/optim/fused.hpp"
#include "registry/component.hpp"

namespace strata::optim {

struct LionOptions : OptimizerOptions {
  std::vector<double> betas = {0.9, 0.99};

  static auto fields() {
    using config::field;
    return config::join(OptimizerOptions::fields(),
                        field("betas", &LionOptions::betas,
                              "weight of the momentum in the step, and its decay from step to step")
                            .size(2)
                            .at_least(0)
                            .below(1));
  }
};

class Lion final : public FusedOptimizer {
 public:
  Lion(const LionOptions& options, const Context& context)
      : FusedOptimizer(context.groups, {"exp_avg"}), options_(options) {}

 private:
  void update(const Bucket& bucket, double lr, double weight_decay) override {
    const at::TensorList momentum = bucket.buffers[0];
    std::vector<at::Tensor> direction = at::_foreach_mul(momentum, options_.betas[0]);
    at::_foreach_add_(direction, bucket.gradients, 1.0 - options_.betas[0]);
    at::_foreach_sign_(direction);
    if (weight_decay != 0) at::_foreach_mul_(bucket.parameters, 1.0 - lr * weight_decay);
    at::_foreach_add_(bucket.parameters, direction, -lr);
    at::_foreach_lerp_(momentum, bucket.gradients, 1.0 - options_.betas[1]);
  }

  LionOptions options_;
};

}  // namespace strata::optim

STRATA_COMPONENTS(framework_optim_lion) {
  using namespace strata::optim;
  registry.add<strata::Optimizer, Lion, LionOptions>(
      "Lion", "steps of one size along the sign of the momentum");
}
