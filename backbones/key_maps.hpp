// Layouts of backbone weights that other libraries publish.
#pragma once

#include <string>
#include <vector>

#include "framework/io/key_map.hpp"

namespace strata::backbones {

/// Rules from a layout to our names: "torchvision.resnet", "timm.resnet", "timm.resnetd",
/// "timm.hrnet", "detectron2.resnet", "lukemelas.efficientnet" (also smp's),
/// "transformers.resnet", "transformers.efficientnet" (of Hugging Face),
/// "timm.efficientnet_b0" … "_b7", "torchvision.efficientnet_b0" … "_b7", "openai.clip_visual",
/// "openai.clip_text" (also open_clip's), "transformers.clip_visual", "transformers.clip_text". The classifier and
/// EfficientNet's head, which no feature depends on, are dropped. Throws std::out_of_range for
/// another name.
STRATA_API std::vector<io::KeyRule> key_rules(const std::string& layout);
STRATA_API std::vector<std::string> key_layouts();

}  // namespace strata::backbones
