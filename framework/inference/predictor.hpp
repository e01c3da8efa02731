// Runs a trained model: eval mode, no gradients, results back at the size of the files.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#include "framework/model/model.hpp"

namespace strata::inference {

class STRATA_API Predictor {
 public:
  /// Puts `model` into eval mode, on `device`. `channels_last` is the memory format its weights have.
  Predictor(std::shared_ptr<Model> model, c10::Device device, bool channels_last = true);

  /// Results at the batch's own (padded) size, under inference mode.
  Outputs operator()(const Batch& batch) const;

  const Model& model() const { return *model_; }
  c10::Device device() const { return device_; }

 private:
  std::shared_ptr<Model> model_;
  c10::Device device_;
  bool channels_last_;
};

/// Sample `n` of batched results, cut to its valid area and brought to the size of its file:
/// logits, probabilities and values bilinearly, label maps by nearest. Tensors keep a batch of 1.
STRATA_API Outputs restore(const Outputs& outputs, const Batch& batch, std::int64_t n);

/// A batch moved to `device`, images in channels-last memory if asked for.
STRATA_API Batch to_device(const Batch& batch, c10::Device device, bool channels_last);

}  // namespace strata::inference
