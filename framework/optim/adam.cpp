// Adam (Kingma and Ba, ICLR 2015) and AdamW (decoupled decay; Loshchilov and Hutter, ICLR 2019),
// with PyTorch's meaning of every option.
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>

#include "framework/optim/fused.hpp"
#include "registry/component.hpp"

namespace strata::optim {

struct AdamOptions : OptimizerOptions {
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  bool amsgrad = false;

  static auto fields() {
    using config::field;
    return config::join(
        OptimizerOptions::fields(),
        field("betas", &AdamOptions::betas, "decay of the first and the second moment")
            .size(2)
            .at_least(0)
            .below(1),
        field("eps", &AdamOptions::eps, "added to the root of the second moment").at_least(0),
        field("amsgrad", &AdamOptions::amsgrad, "divide by the largest second moment so far"));
  }
};

struct AdamWOptions : AdamOptions {
  AdamWOptions() { weight_decay = 1e-2; }
};

template <bool kDecoupled>
class AdamBase final : public FusedOptimizer {
 public:
  AdamBase(const AdamOptions& options, const Context& context)
      : FusedOptimizer(context.groups,
                       options.amsgrad
                           ? std::vector<std::string>{"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}
                           : std::vector<std::string>{"exp_avg", "exp_avg_sq"}),
        options_(options) {}

 private:
  void update(const Bucket& bucket, double lr, double weight_decay) override {
    // One tensor serves all: the kernels only read the number of steps, this one included.
    const std::vector<at::Tensor> steps(
        bucket.parameters.size(), at::full({}, static_cast<double>(bucket.steps + 1),
                                           bucket.parameters.front().options().dtype(at::kFloat)));
    const std::vector<at::Tensor> largest =
        options_.amsgrad ? bucket.buffers[2] : std::vector<at::Tensor>{};
    const auto kernel = [&](auto&& fused) {
      fused(bucket.parameters, bucket.gradients, bucket.buffers[0], bucket.buffers[1], largest,
            steps, lr, options_.betas[0], options_.betas[1], weight_decay, options_.eps,
            options_.amsgrad, /*maximize=*/false);
    };
    if constexpr (kDecoupled) {
      kernel([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
      kernel([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
  }

  AdamOptions options_;
};

}  // namespace strata::optim

STRATA_COMPONENTS(framework_optim_adam) {
  using namespace strata::optim;
  registry.add<strata::Optimizer, AdamBase<false>, AdamOptions>(
      "Adam", "Adam; weight decay is added to the gradient");
  registry.add<strata::Optimizer, AdamBase<true>, AdamWOptions>("AdamW",
                                                                "Adam with decoupled weight decay");
}
