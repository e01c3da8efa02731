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

}  // namespace strata
