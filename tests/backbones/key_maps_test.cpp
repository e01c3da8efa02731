#include "backbones/key_maps.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace strata {
namespace {

// Pairs of names by the libraries themselves: tests/parity/small.py.
void expect_translates(const std::string& library) {
  const io::KeyRules rules(backbones::key_rules(library + ".efficientnet_b0"));
  std::ifstream stream(STRATA_SOURCE_DIR "/tests/data/parity/maps/efficientnet_b0_" + library +
                       ".txt");
  std::string theirs, ours;
  int count = 0;
  while (stream >> theirs >> ours) {
    ++count;
    const bool head = ours.rfind("_conv_head", 0) == 0 || ours.rfind("_bn1", 0) == 0;
    EXPECT_EQ(rules.rename(theirs).value_or("dropped"), head ? "dropped" : ours);
  }
  EXPECT_EQ(count, 358);
  EXPECT_FALSE(rules.rename("classifier.weight"));
}

TEST(KeyMaps, TranslateEveryNameOfTimmsEfficientNet) { expect_translates("timm"); }
TEST(KeyMaps, TranslateEveryNameOfTorchvisionsEfficientNet) { expect_translates("torchvision"); }

// As Detectron2's own converter names torchvision's ResNet.
TEST(KeyMaps, TranslateDetectron2sResNet) {
  const io::KeyRules rules(backbones::key_rules("detectron2.resnet"));
  const std::pair<const char*, const char*> pairs[] = {
      {"stem.conv1.weight", "conv1.weight"},
      {"stem.conv1.norm.running_var", "bn1.running_var"},
      {"res2.0.conv1.weight", "layer1.0.conv1.weight"},
      {"res2.0.conv3.norm.bias", "layer1.0.bn3.bias"},
      {"res4.22.conv2.norm.weight", "layer3.22.bn2.weight"},
      {"res5.0.shortcut.weight", "layer4.0.downsample.0.weight"},
      {"res5.0.shortcut.norm.running_mean", "layer4.0.downsample.1.running_mean"}};
  for (const auto& [theirs, ours] : pairs) EXPECT_EQ(rules.rename(theirs), ours) << theirs;
  EXPECT_FALSE(rules.rename("stem.fc.weight"));
}

TEST(KeyMaps, MatchWholeSegments) {
  const std::vector<io::KeyRule> rules = {{"fc", "", true}, {"bn1", "stem.7"}};
  EXPECT_EQ(io::rename("bn1.weight", rules), "stem.7.weight");
  EXPECT_EQ(io::rename("bn10.weight", rules), "bn10.weight");
  EXPECT_EQ(io::rename("layer1.0.bn1.weight", rules), "layer1.0.bn1.weight");
  EXPECT_EQ(io::rename("fcn.weight", rules), "fcn.weight");
  EXPECT_FALSE(io::rename("fc.weight", rules));
}

TEST(KeyMaps, NeverSendTwoNamesToOne) {
  for (const std::string& layout : backbones::key_layouts()) {
    std::set<std::string> from, to;
    for (const auto& rule : backbones::key_rules(layout)) {
      EXPECT_TRUE(from.insert(rule.from).second) << layout << " " << rule.from;
      if (!rule.drop) {
        EXPECT_TRUE(to.insert(rule.to).second) << layout << " " << rule.to;
      }
    }
  }
  EXPECT_THROW(backbones::key_rules("timm.efficientnet_b8"), std::out_of_range);
}

}  // namespace
}  // namespace strata
