// Weights by name: what a module holds, and loading with a report that hides nothing.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::io {

/// Parameters and buffers of a module under their dotted names, in registration order.
STRATA_API TensorMap state_of(const torch::nn::Module& module);

struct LoadReport {
  std::vector<std::string> matched;
  std::vector<std::string> missing;     // in the module, not in the file
  std::vector<std::string> unexpected;  // in the file, not in the module
  std::vector<std::string> shapes;      // "name: file [64, 3, 7, 7], model [64, 4, 7, 7]"
  std::vector<std::string> fresh;       // left as they were, as asked for
  std::vector<std::string> adapted;     // to the model's shape: channels, position embeddings
  // Of those in `shapes`, by name: only the first extent differs (number of classes), or
  // adapt_input would make them fit.
  std::vector<std::string> other_classes, other_channels;

  bool complete() const { return missing.empty() && unexpected.empty() && shapes.empty(); }
  /// Counts, then every name (at most `most` of a sort), each with its nearest counterpart.
  std::string str(std::size_t most = 10) const;
};

/// Weights that do not fit; `report` has what was refused.
class STRATA_API WeightsError : public CheckpointError {
 public:
  WeightsError(const std::string& source, LoadReport refused);
  ~WeightsError() override;
  const LoadReport& report() const { return report_; }

 private:
  LoadReport report_;
};

struct LoadOptions {
  std::string part{};                 // "backbone": only this module; the tensors are named from it
  std::vector<std::string> allow{};   // globs that may be missing, unexpected or of another shape
  std::vector<std::string> reinit{};  // globs that are left as they are, whatever the file has
  /// A convolution of 3 channels serves any number: summed for one channel, else repeated and
  /// scaled by 3 / channels (timm's adapt_input_conv).
  bool adapt_input = false;
  /// Not a checkpoint of this model: parts that AdaptsWeights::may_be_missing names stay fresh.
  bool pretrained = false;
};

/// Copies tensors into the module's parameters and buffers by name, keeping the module's types and
/// strides. Strict: a missing or unexpected name or another shape throws WeightsError, before
/// anything is copied, unless a glob of `allow` matches the name. Globs are of names in the whole
/// module. `num_batches_tracked` may be missing: old files lack it.
STRATA_API LoadReport load_state(torch::nn::Module& module, const TensorMap& tensors,
                                 const std::string& source, const LoadOptions& options = {});

}  // namespace strata::io
