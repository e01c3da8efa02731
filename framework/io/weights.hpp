// Weights by name: what a module holds, and loading with a report that hides nothing.
#pragma once

#include <torch/nn/module.h>

#include <string>
#include <vector>

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

  bool complete() const { return missing.empty() && unexpected.empty() && shapes.empty(); }
  /// Counts, then every name (at most `most` of a sort), each with its nearest counterpart.
  std::string str(std::size_t most = 10) const;
};

/// Copies tensors into the module's parameters and buffers by name, keeping the module's types and
/// strides. Strict: a missing or unexpected name or another shape throws CheckpointError with the
/// report, before anything is copied, unless a glob of `allow` matches the name.
/// `num_batches_tracked` may be missing: old files lack it.
STRATA_API LoadReport load_state(torch::nn::Module& module, const TensorMap& tensors,
                                 const std::string& source,
                                 const std::vector<std::string>& allow = {});

}  // namespace strata::io
