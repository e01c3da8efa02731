#include "framework/nn/init.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/erfinv.h>

#include <cmath>
#include <cstdint>

namespace strata::nn {
namespace {

struct Fans {
  double in, out;
};

Fans fans_of(const at::Tensor& weight) {
  TORCH_CHECK(weight.dim() >= 2, "fan is defined for weights of two or more dimensions, got shape ",
              weight.sizes());
  const auto receptive = static_cast<double>(weight[0][0].numel());
  return {static_cast<double>(weight.size(1)) * receptive,
          static_cast<double>(weight.size(0)) * receptive};
}

}  // namespace

void kaiming_normal_(const at::Tensor& weight, Fan fan) {
  const Fans fans = fans_of(weight);
  normal_(weight, 0.0, std::sqrt(2.0 / (fan == Fan::in ? fans.in : fans.out)));
}

void kaiming_uniform_(const at::Tensor& weight) {
  at::NoGradGuard no_grad;
  const double bound = std::sqrt(6.0 / fans_of(weight).in);
  weight.uniform_(-bound, bound);
}

void default_uniform_(const at::Tensor& weight) {
  at::NoGradGuard no_grad;
  const double bound = 1.0 / std::sqrt(fans_of(weight).in);
  weight.uniform_(-bound, bound);
}

void xavier_uniform_(const at::Tensor& weight, double gain) {
  at::NoGradGuard no_grad;
  const Fans fans = fans_of(weight);
  const double bound = gain * std::sqrt(6.0 / (fans.in + fans.out));
  weight.uniform_(-bound, bound);
}

void normal_(const at::Tensor& tensor, double mean, double std) {
  at::NoGradGuard no_grad;
  tensor.normal_(mean, std);
}

void truncated_normal_(const at::Tensor& tensor, double std) {
  at::NoGradGuard no_grad;
  // The inverse distribution function maps one uniform draw to one value: no rejection loop.
  const double upper = std::erf(2.0 / std / std::sqrt(2.0));
  tensor.uniform_(-upper, upper).erfinv_().mul_(std * std::sqrt(2.0)).clamp_(-2.0, 2.0);
}

void constant_(const at::Tensor& tensor, double value) {
  at::NoGradGuard no_grad;
  tensor.fill_(value);
}

}  // namespace strata::nn
