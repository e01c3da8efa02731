// Stochastic gradient descent with momentum, with PyTorch's meaning of every option: decay is added
// to the gradient, and the first step fills the momentum buffer without dampening.
#include <ATen/ops/_fused_sgd.h>
#include <fmt/format.h>

#include "framework/optim/fused.hpp"
#include "registry/component.hpp"

namespace strata::optim {

struct SgdOptions : OptimizerOptions {
  double momentum = 0.0;
  double dampening = 0.0;
  bool nesterov = false;

  static auto fields() {
    using config::field;
    return config::join(
        OptimizerOptions::fields(),
        field("momentum", &SgdOptions::momentum, "decay of the running sum of gradients")
            .at_least(0)
            .below(1),
        field("dampening", &SgdOptions::dampening, "share of a new gradient left out of the sum")
            .at_least(0)
            .at_most(1),
        field("nesterov", &SgdOptions::nesterov, "look one momentum step ahead"));
  }
};

class Sgd final : public FusedOptimizer {
 public:
  Sgd(const SgdOptions& options, const Context& context)
      : FusedOptimizer(context.groups, options.momentum > 0
                                           ? std::vector<std::string>{"momentum_buffer"}
                                           : std::vector<std::string>{}),
        options_(options) {
    if (options.nesterov && (options.momentum == 0 || options.dampening != 0)) {
      throw OptionError("nesterov",
                        fmt::format("needs momentum above 0 and dampening 0, got momentum {} and "
                                    "dampening {}",
                                    options.momentum, options.dampening));
    }
  }

 private:
  void update(const Bucket& bucket, double lr, double weight_decay) override {
    const std::vector<at::Tensor> momentum =
        bucket.buffers.empty() ? std::vector<at::Tensor>{} : bucket.buffers[0];
    at::_fused_sgd_(bucket.parameters, bucket.gradients, momentum, weight_decay, options_.momentum,
                    lr, options_.dampening, options_.nesterov,
                    /*maximize=*/false, /*is_first_step=*/bucket.steps == 0);
  }

  SgdOptions options_;
};

}  // namespace strata::optim

STRATA_COMPONENTS(framework_optim_sgd) {
  using namespace strata::optim;
  registry.add<strata::Optimizer, Sgd, SgdOptions>("SGD",
                                                   "stochastic gradient descent with momentum");
}
