#include "framework/nn/norm.hpp"

namespace strata::nn {

Norm::Norm(std::int64_t channels, const NormOptions& options) {
  if (options.type == "BN") {
    batch_norm_ = std::make_shared<torch::nn::BatchNorm2dImpl>(
        torch::nn::BatchNormOptions(channels).eps(options.eps).momentum(options.momentum));
  } else if (options.type == "GN") {
    if (channels % options.groups != 0) {
      throw OptionError("norm", "groups must divide the " + std::to_string(channels) +
                                    " channels of every layer, got " +
                                    std::to_string(options.groups));
    }
    group_norm_ = std::make_shared<torch::nn::GroupNormImpl>(
        torch::nn::GroupNormOptions(options.groups, channels).eps(options.eps));
  }
}

at::Tensor Norm::operator()(const at::Tensor& x) const {
  if (batch_norm_) return batch_norm_->forward(x);
  if (group_norm_) return group_norm_->forward(x);
  return x;
}

std::shared_ptr<torch::nn::Module> Norm::module() const {
  if (group_norm_) return group_norm_;
  return batch_norm_;
}

at::Tensor Norm::weight() const {
  if (batch_norm_) return batch_norm_->weight;
  if (group_norm_) return group_norm_->weight;
  return {};
}

}  // namespace strata::nn
