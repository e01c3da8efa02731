#include "backbones/key_maps.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>

namespace strata {
namespace {

TEST(KeyMaps, TranslateEveryNameOfTimmsEfficientNet) {
  const auto rules = backbones::key_rules("timm.efficientnet_b0");
  std::ifstream stream(STRATA_SOURCE_DIR "/tests/data/parity/maps/efficientnet_b0_timm.txt");
  std::string theirs, ours;
  int count = 0;
  while (stream >> theirs >> ours) {
    ++count;
    const bool head = ours.rfind("_conv_head", 0) == 0 || ours.rfind("_bn1", 0) == 0;
    EXPECT_EQ(io::rename(theirs, rules).value_or("dropped"), head ? "dropped" : ours);
  }
  EXPECT_EQ(count, 358);
  EXPECT_FALSE(io::rename("classifier.weight", rules));
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
