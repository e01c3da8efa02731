#include "backbones/backbone.hpp"

namespace strata {

Backbone::Layers Backbone::layers() const {
  Layers layers;
  std::vector<std::string> own;
  for (const auto& item : named_parameters(/*recurse=*/false)) own.push_back(item.key());
  if (!own.empty()) layers.push_back(own);
  for (const auto& child : named_children()) {
    if (!child.value()->parameters().empty()) layers.push_back({child.key()});
  }
  return layers;
}

DateFeatures Backbone::forward_dates(const at::Tensor& images, std::int64_t dates, bool joint) {
  if (dates == 1 || joint || !is_training()) return split_dates(forward(images), dates);
  DateFeatures features;
  for (const at::Tensor& part : images.chunk(dates, 0)) features.push_back(forward(part));
  return features;
}

DateFeatures split_dates(const Features& all, std::int64_t dates) {
  if (dates == 1) return {all};
  DateFeatures features(static_cast<std::size_t>(dates));
  // chunk, not narrow: its backward joins the dates' gradients instead of adding padded ones.
  for (const at::Tensor& level : all.levels) {
    const auto parts = level.chunk(dates, 0);
    for (std::size_t d = 0; d < parts.size(); ++d) features[d].levels.push_back(parts[d]);
  }
  for (const auto& [name, extra] : all.extras) {
    const auto parts = extra.chunk(dates, 0);
    for (std::size_t d = 0; d < parts.size(); ++d) features[d].extras[name] = parts[d];
  }
  return features;
}

}  // namespace strata
