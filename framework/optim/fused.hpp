// What optimizers on LibTorch's fused kernels share: tensors bucketed by group, device, type and
// age, state in the parameter's own strides, saving and loading by name.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "framework/optim/optimizer.hpp"

namespace strata::optim {

class FusedOptimizer : public Optimizer {
 public:
  void step(double factor) final;
  std::vector<std::pair<std::string, at::Tensor>> state() const final;
  void load_state(const std::vector<std::pair<std::string, at::Tensor>>& state) final;

 protected:
  /// `buffers` names the tensors kept for each parameter ("exp_avg", …); there may be none.
  FusedOptimizer(std::vector<ParameterGroup> groups, std::vector<std::string> buffers);

  /// Parameters that one kernel call updates. Vectors are parallel; they live from step to step.
  struct Bucket {
    std::size_t group = 0;
    std::int64_t steps = 0;  // taken before this one, the same for all of them
    std::vector<std::size_t> entries;
    std::vector<at::Tensor> parameters, gradients;
    std::vector<std::vector<at::Tensor>> buffers;  // [kind of state][parameter]
  };
  virtual void update(const Bucket& bucket, double lr, double weight_decay) = 0;

 private:
  struct Entry {
    std::string name;
    at::Tensor parameter;
    std::size_t group = 0;
    std::int64_t steps = 0;
    bool active = false;  // has a gradient in this step
    std::vector<at::Tensor> buffers;
  };
  void rebuild();

  std::vector<std::string> buffer_names_;
  std::vector<Entry> entries_;
  std::vector<Bucket> buckets_;
  bool stale_ = true;  // buckets_ do not fit entries_
};

}  // namespace strata::optim
