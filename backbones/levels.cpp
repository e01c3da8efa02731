#include "backbones/levels.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace strata::backbones {

std::vector<FeatureLevel> select_levels(const std::vector<FeatureLevel>& all,
                                        const std::vector<std::int64_t>& out_indices) {
  const auto last = static_cast<std::int64_t>(all.size()) - 2;
  std::vector<FeatureLevel> selected;
  std::int64_t previous = -2;
  for (const std::int64_t index : out_indices) {
    if (index < -1 || index > last) {
      throw OptionError("out_indices", "no such level, got " + std::to_string(index) +
                                           "; levels are -1 (the stem) to " + std::to_string(last));
    }
    if (index <= previous) {
      throw OptionError("out_indices", "levels must be listed from fine to coarse, got " +
                                           std::to_string(index) + " after " +
                                           std::to_string(previous));
    }
    selected.push_back(all[static_cast<std::size_t>(index + 1)]);
    previous = index;
  }
  return selected;
}

bool wanted(const std::vector<std::int64_t>& out_indices, std::int64_t index) {
  return std::find(out_indices.begin(), out_indices.end(), index) != out_indices.end();
}

std::int64_t image_channels(const FeatureSpec& image) {
  if (image.levels.size() != 1 || image.levels[0].stride != 1) {
    throw std::logic_error("a backbone takes images, got " + image.str());
  }
  return image.levels[0].channels;
}

void append_children(Backbone::Layers& layers, const std::string& name,
                     const torch::nn::Module& module) {
  for (const auto& child : module.named_children()) layers.push_back({name + "." + child.key()});
}

}  // namespace strata::backbones
