// Around a model's predict: placing it and its batches, results back at the size of the files.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "framework/model/model.hpp"

namespace strata::inference {

/// Sample `n` of batched results, cut to its valid area and brought to the size of its file:
/// logits, probabilities and values bilinearly, label maps by nearest. Tensors keep a batch of 1.
STRATA_API Outputs restore(const Outputs& outputs, const Batch& batch, std::int64_t n);

/// Moves a model to `device`, its convolution weights to channels-last memory if asked for. To be
/// done before an optimizer is built on its parameters.
STRATA_API void place(torch::nn::Module& model, c10::Device device, bool channels_last);

/// A batch moved to `device`, images in channels-last memory if asked for.
STRATA_API Batch to_device(const Batch& batch, c10::Device device, bool channels_last);

}  // namespace strata::inference
