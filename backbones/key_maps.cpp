#include "backbones/key_maps.hpp"

#include <cmath>
#include <stdexcept>

namespace strata::backbones {
namespace {

using Rules = std::vector<io::KeyRule>;

Rules dropping(std::initializer_list<const char*> prefixes) {
  Rules rules;
  for (const char* prefix : prefixes) rules.push_back({prefix, "", true});
  return rules;
}

/// timm numbers blocks within their stage, the native layout through all stages.
Rules timm_efficientnet(double depth) {
  Rules rules = dropping({"classifier", "conv_head", "bn2"});
  rules.push_back({"conv_stem", "_conv_stem"});
  rules.push_back({"bn1", "_bn0"});
  int number = 0;
  const int repeats[] = {1, 2, 2, 3, 3, 4, 1};
  for (int stage = 0; stage < 7; ++stage) {
    const int blocks = static_cast<int>(std::ceil(depth * repeats[stage]));
    for (int k = 0; k < blocks; ++k, ++number) {
      const std::string theirs = "blocks." + std::to_string(stage) + "." + std::to_string(k) + ".";
      const std::string ours = "_blocks." + std::to_string(number) + ".";
      const auto add = [&](const char* from, const char* to) {
        rules.push_back({theirs + from, ours + to});
      };
      add("se.conv_reduce", "_se_reduce");
      add("se.conv_expand", "_se_expand");
      add("conv_dw", "_depthwise_conv");
      if (stage == 0) {  // these do not expand
        add("bn1", "_bn1");
        add("conv_pw", "_project_conv");
        add("bn2", "_bn2");
      } else {
        add("conv_pw", "_expand_conv");
        add("bn1", "_bn0");
        add("bn2", "_bn1");
        add("conv_pwl", "_project_conv");
        add("bn3", "_bn2");
      }
    }
  }
  return rules;
}

Rules timm_resnetd() {
  Rules rules = dropping({"fc"});
  for (const char* layer : {"0", "1", "3", "4", "6"}) {
    rules.push_back({std::string("conv1.") + layer, std::string("stem.") + layer});
  }
  rules.push_back({"bn1", "stem.7"});
  return rules;
}

}  // namespace

std::vector<std::string> key_layouts() {
  std::vector<std::string> names = {"torchvision.resnet", "timm.resnet", "timm.resnetd",
                                    "timm.hrnet", "lukemelas.efficientnet"};
  for (const char number : {'0', '1', '2', '3', '4', '5', '6', '7'}) {
    names.push_back(std::string("timm.efficientnet_b") + number);
  }
  return names;
}

std::vector<io::KeyRule> key_rules(const std::string& layout) {
  if (layout == "torchvision.resnet" || layout == "timm.resnet") return dropping({"fc"});
  if (layout == "timm.resnetd") return timm_resnetd();
  if (layout == "timm.hrnet") {
    return dropping({"incre_modules", "downsamp_modules", "final_layer", "classifier"});
  }
  if (layout == "lukemelas.efficientnet") return dropping({"_fc", "_conv_head", "_bn1"});
  const std::string efficientnet = "timm.efficientnet_b";
  if (layout.size() == efficientnet.size() + 1 &&
      layout.compare(0, efficientnet.size(), efficientnet) == 0) {
    const double depths[] = {1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1};
    const int number = layout.back() - '0';
    if (number >= 0 && number < 8) return timm_efficientnet(depths[number]);
  }
  throw std::out_of_range("no layout of backbone weights named " + layout);
}

}  // namespace strata::backbones
