#include "framework/config/globs.hpp"

#include <gtest/gtest.h>

namespace strata::config {
namespace {

TEST(Globs, PlainNamesArePrefixesOfWholeSegments) {
  EXPECT_TRUE(glob_match("backbone.layer1", "backbone.layer1.0.conv.weight"));
  EXPECT_TRUE(glob_match("backbone.layer1", "backbone.layer1"));
  EXPECT_FALSE(glob_match("backbone.layer1", "backbone.layer10.weight"));
  EXPECT_FALSE(glob_match("layer1", "backbone.layer1"));
}

TEST(Globs, StarStaysInsideASegment) {
  EXPECT_TRUE(glob_match("*.weight", "conv.weight"));
  EXPECT_FALSE(glob_match("*.weight", "a.conv.weight"));
  EXPECT_TRUE(glob_match("layer*.0.*", "layer12.0.bias"));
  EXPECT_FALSE(glob_match("layer*", "layer1.0"));
  EXPECT_TRUE(glob_match("*norm*.w*t", "my_norm1.weight"));
  EXPECT_TRUE(glob_match("a*b*c", "axxbxbc"));
  EXPECT_FALSE(glob_match("a*b*c", "axxbxbd"));
}

TEST(Globs, DoubleStarSpansSegments) {
  EXPECT_TRUE(glob_match("**.bias", "bias"));
  EXPECT_TRUE(glob_match("**.bias", "a.b.c.bias"));
  EXPECT_TRUE(glob_match("a.**", "a.b.c"));
  EXPECT_TRUE(glob_match("a.**", "a"));
  EXPECT_FALSE(glob_match("a.**", "ab.c"));
  EXPECT_TRUE(glob_match("**.norm*.**", "x.y.norm2.weight"));
  EXPECT_TRUE(glob_match("**", "anything.at.all"));
  EXPECT_TRUE(glob_match("**.a.**.b", "x.a.a.y.b"));
  EXPECT_FALSE(glob_match("**.a.**.b", "x.c.y.b"));
}

TEST(Globs, LongPatternsEndQuickly) {
  std::string pattern = "**", name = "a";
  for (int i = 0; i < 60; ++i) {
    pattern += ".*a*a*.**";
    name += ".aaaaaaaaaaaaaaaaaaaaaaaaa";
  }
  EXPECT_FALSE(glob_match(pattern + ".b", name));
}

TEST(Globs, HintsNameWhatWasMeant) {
  const std::vector<std::string> names = {"backbone.layer1.0.weight", "backbone.layer2.0.weight",
                                          "image_encoder.pos_embed"};
  EXPECT_EQ(glob_hint("backbone.layr1", names), "; did you mean \"backbone.layer1\"?");
  EXPECT_EQ(glob_hint("img_encoder.**", names), "; did you mean \"image_encoder.**\"?");
  EXPECT_EQ(glob_hint("backbone.*.0.wieght", names), "; did you mean \"backbone.*.0.weight\"?");
  EXPECT_EQ(glob_hint("qqqqqqq", names), "");
}

}  // namespace
}  // namespace strata::config
