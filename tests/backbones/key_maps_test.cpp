#include "backbones/key_maps.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "backbones/backbone.hpp"
#include "framework/io/weights.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata {
namespace {

/// What hubs hold, by names and shapes (tests/parity/hub.py), fits the backbone that is its like.
struct HubCase {
  const char *file, *backbone, *layout, *prefix;
};

TEST(KeyMaps, FilesOfHubsFitWithoutAWord) {
  const HubCase cases[] = {
      {"timm_resnet18.a1_in1k", "type = \"ResNet\"\ndepth = 18", "torchvision.resnet", ""},
      {"timm_resnet50.a1_in1k", "type = \"ResNet\"\ndepth = 50", "torchvision.resnet", ""},
      {"timm_resnext50_32x4d.a1h_in1k",
       "type = \"ResNet\"\ndepth = 50\ngroups = 32\nbase_width = 4", "torchvision.resnet", ""},
      {"timm_resnet50d.ra2_in1k", "type = \"ResNetV1d\"\ndepth = 50", "timm.resnetd", ""},
      {"timm_hrnet_w18.ms_aug_in1k", "type = \"HRNet\"\nwidth = 18", "timm.hrnet", ""},
      {"timm_hrnet_w18_small_v2.ms_in1k", "type = \"HRNet\"\nvariant = \"w18_small_v2\"",
       "timm.hrnet", ""},
      {"timm_efficientnet_b0.ra_in1k", "type = \"EfficientNet\"", "timm.efficientnet_b0", ""},
      {"timm_tf_efficientnet_b3.ns_jft_in1k", "type = \"EfficientNet\"\nvariant = \"b3\"",
       "timm.efficientnet_b3", ""},
      {"microsoft_resnet-18", "type = \"ResNet\"\ndepth = 18", "transformers.resnet", "resnet."},
      {"microsoft_resnet-50", "type = \"ResNet\"\ndepth = 50", "transformers.resnet", "resnet."},
      {"google_efficientnet-b0", "type = \"EfficientNet\"", "transformers.efficientnet",
       "efficientnet."},
      {"google_efficientnet-b1", "type = \"EfficientNet\"\nvariant = \"b1\"",
       "transformers.efficientnet", "efficientnet."}};
  io::MatchOptions all;
  for (const std::string& name : backbones::key_layouts()) {
    all.layouts.push_back({name, backbones::key_rules(name)});
  }
  for (const HubCase& one : cases) {
    SCOPED_TRACE(one.file);
    const auto backbone = tests::slot_of<Backbone>(one.backbone).build({FeatureSpec::image(3)});
    TensorMap file;
    std::size_t loaded = 0;
    for (const auto& [name, shape] :
         tests::parity::read_keys("hub/" + std::string(one.file) + ".txt").shapes) {
      file.emplace_back(name, at::zeros({}).expand(shape));
    }
    std::vector<std::string> names;
    for (const auto& [name, tensor] : io::state_of(*backbone)) names.push_back(name);
    const io::KeyMatch match = io::match_keys(file, names, all);
    EXPECT_EQ(match.layout, one.layout);
    EXPECT_EQ(match.prefix, one.prefix);
    EXPECT_EQ(match.matched, names.size());
    try {
      loaded = io::load_state(*backbone, match.tensors, one.file).matched.size();
    } catch (const UserError& error) {
      ADD_FAILURE() << error.what();
    }
    EXPECT_EQ(loaded, names.size());
  }
}

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

// Names by hand: tests/parity/attention.py.
TEST(KeyMaps, TranslateEveryNameOfSwin) {
  const io::KeyRules timm(backbones::key_rules("timm.swin"));
  const io::KeyRules microsoft(backbones::key_rules("microsoft.swin"));
  std::ifstream stream(STRATA_SOURCE_DIR "/tests/data/parity/maps/swin_tiny_timm.txt");
  std::string theirs, ours;
  int count = 0;
  while (stream >> theirs >> ours) {
    ++count;
    EXPECT_EQ(timm.rename(theirs), ours);
    const std::size_t downsample = theirs.find(".downsample");
    if (downsample != std::string::npos) --theirs[downsample - 1];
    EXPECT_EQ(microsoft.rename(theirs), ours);
  }
  EXPECT_EQ(count, 169);
  for (const char* dropped : {"norm.weight", "head.fc.weight", "head.bias"}) {
    EXPECT_FALSE(timm.rename(dropped)) << dropped;
  }
  EXPECT_FALSE(microsoft.rename("layers.0.blocks.1.attn_mask"));
  EXPECT_EQ(microsoft.rename("norm3.weight"), "norm3.weight");
}

// Patch merging: channel c of the neighbour (row, column) is 4 c + 2 row + column in mmseg, and
// (2 column + row) C + c in timm.
TEST(KeyMaps, OrderTheChannelsOfSwinsPatchMerging) {
  constexpr std::int64_t kChannels = 3;
  at::Tensor theirs = at::empty({4 * kChannels}), ours = at::empty({4 * kChannels});
  for (std::int64_t c = 0; c < kChannels; ++c) {
    for (std::int64_t row = 0; row < 2; ++row) {
      for (std::int64_t column = 0; column < 2; ++column) {
        const auto value = static_cast<double>(100 * c + 10 * row + column);
        theirs[(2 * column + row) * kChannels + c] = value;
        ours[4 * c + 2 * row + column] = value;
      }
    }
  }
  const auto rules = backbones::key_rules("timm.swin");
  const TensorMap file = {{"layers.2.downsample.norm.weight", theirs},
                          {"layers.2.downsample.reduction.weight", theirs.repeat({5, 1})}};
  const TensorMap renamed = io::rename(file, rules);
  EXPECT_EQ(renamed[0].first, "stages.1.downsample.norm.weight");
  EXPECT_TRUE(at::equal(renamed[0].second, ours));
  EXPECT_TRUE(at::equal(renamed[1].second, ours.repeat({5, 1})));
  const TensorMap back = io::rename(renamed, io::inverse(rules));
  EXPECT_EQ(back[1].first, file[1].first);
  EXPECT_TRUE(at::equal(back[1].second, file[1].second));
  io::MatchOptions options;
  options.layouts = {{"timm.swin", rules}};
  const io::KeyMatch match = io::match_keys(
      file, {"stages.1.downsample.norm.weight", "stages.1.downsample.reduction.weight"}, options);
  EXPECT_TRUE(at::equal(match.tensors[0].second, ours));
}

TEST(KeyMaps, TranslateMmsegsVisionTransformer) {
  const io::KeyRules rules(backbones::key_rules("mmseg.vit"));
  const std::pair<const char*, const char*> pairs[] = {
      {"cls_token", "cls_token"},
      {"patch_embed.projection.weight", "patch_embed.proj.weight"},
      {"layers.3.ln1.bias", "blocks.3.norm1.bias"},
      {"layers.3.attn.attn.in_proj_weight", "blocks.3.attn.qkv.weight"},
      {"layers.3.attn.attn.in_proj_bias", "blocks.3.attn.qkv.bias"},
      {"layers.3.attn.attn.out_proj.bias", "blocks.3.attn.proj.bias"},
      {"layers.11.ffn.layers.0.0.weight", "blocks.11.mlp.fc1.weight"},
      {"layers.11.ffn.layers.1.weight", "blocks.11.mlp.fc2.weight"},
      {"ln1.weight", "norm.weight"}};
  for (const auto& [theirs, ours] : pairs) EXPECT_EQ(rules.rename(theirs), ours) << theirs;
}

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
    std::set<std::string> from;
    std::map<std::string, std::string> to;
    for (const auto& rule : backbones::key_rules(layout)) {
      EXPECT_TRUE(from.insert(rule.from).second) << layout << " " << rule.from;
      if (!rule.drop) {
        const std::string target = rule.to + (rule.join > 0 ? std::to_string(rule.join) : "");
        const auto [place, is_new] = to.emplace(target, rule.from);
        // But for a module that its owner's other children go beside.
        EXPECT_TRUE(is_new || place->second.starts_with(rule.from + "."))
            << layout << " " << rule.to;
      }
    }
  }
  EXPECT_THROW(backbones::key_rules("timm.efficientnet_b8"), std::out_of_range);
}

}  // namespace
}  // namespace strata
