// Choosing the levels that a backbone gives.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backbones/backbone.hpp"
#include "framework/model/spec.hpp"

namespace strata::backbones {

/// The levels of `all` that `out_indices` names, in its order; index i stands for all[i + 1], and
/// -1 for all[0], the stem. Throws OptionError("out_indices", …) unless the indices exist and rise.
std::vector<FeatureLevel> select_levels(const std::vector<FeatureLevel>& all,
                                        const std::vector<std::int64_t>& out_indices);

/// True when `index` is in `out_indices`.
bool wanted(const std::vector<std::int64_t>& out_indices, std::int64_t index);

/// Channels of the images. Throws std::logic_error unless `image` is one level at stride 1.
std::int64_t image_channels(const FeatureSpec& image);

/// Adds the children of `module`, which the backbone calls `name`, as a layer each.
void append_children(Backbone::Layers& layers, const std::string& name,
                     const torch::nn::Module& module);

}  // namespace strata::backbones
