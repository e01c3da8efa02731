#include "losses/reduction.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

namespace strata::losses {

at::Tensor at_least_float(const at::Tensor& logits) {
  return logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
}

at::Tensor valid_pixels(const at::Tensor& target, std::int64_t ignore_index) {
  return target.ne(ignore_index);
}

at::Tensor positives(const at::Tensor& target, std::int64_t channels) {
  const at::Tensor labels = target.unsqueeze(1);
  if (channels == 1) return labels.eq(1);
  return labels.eq(at::arange(channels, target.options()).view({1, channels, 1, 1}));
}

at::Tensor mean(const at::Tensor& sum, const at::Tensor& labels, const TrainContext::Count& count,
                TrainContext& context) {
  const at::Tensor divisor = context.global_count(labels, count).to(sum.scalar_type());
  return sum / at::where(divisor.eq(0), at::ones_like(divisor), divisor);
}

void check_channels(const LabelSpec& label, std::int64_t channels) {
  if (channels != 1 || label.num_classes() == 2) return;
  throw OptionError("",
                    fmt::format("one channel tells two classes apart, got label \"{}\" with {}; "
                                "leave out_channels of the head out",
                                label.name, label.num_classes()));
}

void check_weights(const std::string& key, const std::vector<double>& values, std::int64_t size,
                   const std::string& per) {
  if (values.empty()) return;
  if (static_cast<std::int64_t>(values.size()) != size) {
    throw OptionError(key,
                      fmt::format("needs {} values, one a {}, got {}", size, per, values.size()));
  }
  for (double value : values) {
    if (value < 0) throw OptionError(key, fmt::format("must not be negative, got {}", value));
  }
}

}  // namespace strata::losses
