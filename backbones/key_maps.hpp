// Layouts of backbone weights that other libraries publish.
#pragma once

#include <string>
#include <vector>

#include "framework/io/key_map.hpp"

namespace strata::backbones {

/// Rules from a layout to our names: "torchvision.resnet", "timm.resnet", "timm.resnetd",
/// "timm.hrnet", "detectron2.resnet", "lukemelas.efficientnet" (also smp's),
/// "lukemelas.efficientnet_head" (for `keep_head`, without the classifier alone),
/// "transformers.resnet", "transformers.efficientnet" (of Hugging Face),
/// "timm.efficientnet_b0" … "_b7", "torchvision.efficientnet_b0" … "_b7", "timm.vit" (also DeiT's
/// own), "mmseg.vit", "timm.swin", "microsoft.swin", "openai.clip_visual", "openai.clip_text" (also
/// open_clip's), "transformers.clip_visual", "transformers.clip_text". Classifiers and what no
/// feature depends on are dropped; Swin's patch merging has its channels put in mmseg's order.
/// Throws std::out_of_range for another name.
STRATA_API std::vector<io::KeyRule> key_rules(const std::string& layout);
STRATA_API std::vector<std::string> key_layouts();
/// Those of them that are of whole models: "vlcd", "changeclip", "changemask" (Hugging Face style),
/// "torchange.changemask".
STRATA_API std::vector<std::string> model_layouts();

}  // namespace strata::backbones
