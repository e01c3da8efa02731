// What every loss shares: which pixels count, and how a sum becomes a mean over all ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"
#include "framework/model/model.hpp"

namespace strata::losses {

/// The `average` option: what the divisor of a loss counts.
struct AverageOptions {
  std::string average = "valid";
  static auto fields() {
    using config::field;
    return std::tuple{field("average", &AverageOptions::average,
                            "divide by the valid pixels, or by all as MMSegmentation does")
                          .one_of({"valid", "all"})};
  }
};

/// logits in float32 or, where they have it, more.
STRATA_API at::Tensor at_least_float(const at::Tensor& logits);

/// [N, H, W] bool: where the target is not `ignore_index`.
STRATA_API at::Tensor valid_pixels(const at::Tensor& target, std::int64_t ignore_index);

/// [N, C, H, W] bool: where a pixel is of the class that a channel asks for: class 1 for a single
/// channel, class c for channel c of several.
STRATA_API at::Tensor positives(const at::Tensor& target, std::int64_t channels);

/// sum / count(labels), the count taken over all ranks and accumulated batches; `labels` is the
/// target as the loss was given it. A count of 0 (nothing is valid) divides by 1: sum is 0 then,
/// and so are its gradients. No host sync.
STRATA_API at::Tensor mean(const at::Tensor& sum, const at::Tensor& labels,
                           const TrainContext::Count& count, TrainContext& context);

/// Throws OptionError when there is one channel and not two classes.
STRATA_API void check_channels(const LabelSpec& label, std::int64_t channels);

/// Throws OptionError(key, …) unless `values` is empty or has `size` entries, none negative.
STRATA_API void check_weights(const std::string& key, const std::vector<double>& values,
                              std::int64_t size, const std::string& per);

}  // namespace strata::losses
