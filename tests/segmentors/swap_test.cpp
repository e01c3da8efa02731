// Every backbone under every neck and head, with nothing written but the types: that they say they
// fit. That they do what they say is tested where they live (shapes of backbones, heads on any
// levels).
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "backbones/backbone.hpp"
#include "heads/head.hpp"
#include "necks/neck.hpp"
#include "tests/support/build.hpp"

namespace strata {
namespace {

template <class Interface>
Slot<Interface> slot_named(const std::string& type) {
  static const std::map<std::string, std::string> required = {
      // The stem, which U-Net's fifth block joins, is no level unless it is asked for.
      {"UnetDecoder", "decoder_channels = [64, 32, 16, 8]\n"},
      {"SideFusionCLIP",
       "clip = {type = \"CLIPResNetWithAttention\"}\nrs_backbone = {type = \"ResNet\"}\n"
       "bridge = {type = \"BridgingModule\"}\n"}};
  const auto more = required.find(type);
  return tests::slot_of<Interface>("type = \"" + type + "\"\n" +
                                   (more == required.end() ? "" : more->second));
}

TEST(Swap, EveryBackboneFitsUnderEveryNeckAndHead) {
  const LabelSpecs labels(
      config::Named<LabelSpec>{{"land", tests::label_of("land", 3, "semantic")}});
  const Registry& registry = tests::builtin_registry();
  int combinations = 0;
  for (const std::string& backbone : registry.names("backbone")) {
    const FeatureSpec levels =
        slot_named<Backbone>(backbone).ask(&Backbone::Statics::output, FeatureSpec::image(3));
    ASSERT_EQ(levels.levels.size(), 4U) << backbone;
    for (std::size_t i = 0; i < levels.levels.size(); ++i) {
      EXPECT_EQ(levels.levels[i].stride, std::int64_t{4} << i) << backbone;
    }
    for (const std::string& neck : registry.names("neck")) {
      FeatureSpec dates = levels;
      const std::set<std::string> fusing = {"SiameseFusion", "CFC", "SimpleCFC", "DFC",
                                            "TemporalSymmetricTransformer"};
      dates.dates = fusing.contains(neck) ? 2 : 1;
      dates.extras["text"] = 8;
      for (const FeatureSpec& input :
           {levels, slot_named<Neck>(neck).ask(&Neck::Statics::output, dates)}) {
        for (const std::string& head : registry.names("head")) {
          for (const bool auxiliary : {false, true}) {
            SCOPED_TRACE(backbone + ", " + neck + ", " + head);
            EXPECT_NO_THROW(slot_named<Head>(head).ask(&Head::Statics::check,
                                                       Head::Context{input, labels, auxiliary}));
            ++combinations;
          }
        }
      }
    }
  }
  EXPECT_GE(combinations, 200);
}

}  // namespace
}  // namespace strata
