// Features as they flow between backbone, necks and heads.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace strata {

/// Features of one date: levels [N, C_i, H/stride_i, W/stride_i] as the FeatureSpec says.
struct Features {
  std::vector<at::Tensor> levels;
  std::map<std::string, at::Tensor> extras;
};

/// One entry a date; a fusing neck leaves a single one.
using DateFeatures = std::vector<Features>;

}  // namespace strata
