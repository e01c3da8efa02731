// What the backbones promise beside the numbers: shapes, counts, options, errors, gradients.
#include <ATen/ATen.h>
#include <ATen/TensorIndexing.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "backbones/backbone.hpp"
#include "backbones/key_maps.hpp"
#include "framework/io/weights.hpp"
#include "framework/nn/drop_path.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata {
namespace {

struct Built {
  std::shared_ptr<Backbone> backbone;
  FeatureSpec spec;
};

Built build(const std::string& options, std::int64_t channels = 3) {
  const auto slot =
      tests::bind_slot<Backbone>("[model]\nbackbone = {" + options + "}\n", "model.backbone");
  const Backbone::Context context{FeatureSpec::image(channels)};
  return {slot.build(context), slot.ask(&Backbone::Statics::output, context.input)};
}

std::string error_of(const std::string& options) {
  return tests::message_of([&] { build(options); });
}

std::int64_t parameters(const torch::nn::Module& module) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

std::vector<std::int64_t> heights(const std::string& options, std::int64_t size) {
  at::NoGradGuard no_grad;
  Built built = build(options);
  built.backbone->eval();
  std::vector<std::int64_t> sizes;
  for (const auto& level : built.backbone->forward(at::zeros({1, 3, size, size})).levels) {
    sizes.push_back(level.size(2));
  }
  return sizes;
}

class BackboneShapes : public testing::TestWithParam<const char*> {};

TEST_P(BackboneShapes, AreWhatOutputSays) {
  at::NoGradGuard no_grad;
  Built built = build(GetParam());
  built.backbone->eval();
  const bool floors = std::string(GetParam()).find("EfficientNet") != std::string::npos;
  for (const auto& [h, w] : {std::pair<std::int64_t, std::int64_t>{64, 96}, {65, 97}}) {
    const Features features = built.backbone->forward(at::rand({2, 3, h, w}));
    ASSERT_EQ(features.levels.size(), built.spec.levels.size());
    for (std::size_t i = 0; i < features.levels.size(); ++i) {
      const FeatureLevel& level = built.spec.levels[i];
      const auto shrunk = [&](std::int64_t size) {
        return floors ? size / level.stride : (size + level.stride - 1) / level.stride;
      };
      EXPECT_EQ(features.levels[i].sizes(),
                (std::vector<std::int64_t>{2, level.channels, shrunk(h), shrunk(w)}))
          << built.spec.str() << " level " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Options, BackboneShapes,
    testing::Values(
        "type='ResNet', depth=18", "type='ResNet', depth=34, out_indices=[-1, 0, 3]",
        "type='ResNet', depth=50, output_stride=8", "type='ResNet', depth=50, output_stride=16",
        "type='ResNet', depth=18, out_indices=[1, 2]",
        "type='ResNet', depth=50, style='caffe', multi_grid=[1, 2, 4], dilations=[1, 1, 1, 2]",
        "type='ResNetV1c', depth=18, strides=[1, 2, 1, 1], dilations=[1, 1, 2, 4], "
        "contract_dilation=true",
        "type='ResNetV1d', depth=50", "type='ResNeXt', depth=50",
        "type='ResNet', depth=18, norm={type='GN', groups=8}",
        "type='ResNet', depth=18, norm='none'", "type='HRNet'",
        "type='HRNet', width=32, out='concat', align_corners=true",
        "type='HRNet', variant='hr18s', out_indices=[-1, 0, 2]",
        "type='HRNet', variant='w18_small', out='concat', fuse_upsample='nearest'",
        "type='EfficientNet'", "type='EfficientNet', out_indices=[-1, 3]",
        "type='EfficientNet', variant='b1', out_indices=[0]",
        "type='CLIPResNetWithAttention', layers=[1, 2, 1, 1], width=4, output_dim=8",
        "type='CLIPVisionTransformer', width=64, layers=4, heads=1, output_dim=8",
        "type='CLIPVisionTransformer', variant='L/14', width=64, layers=6, heads=1",
        "type='CLIPVisionTransformer', variant='B/32', width=64, layers=4, heads=1, "
        "out_indices=[1, 2], pyramid=false, get_embeddings=false",
        "type='VisionTransformer', variant='deit-tiny', depth=4",
        "type='VisionTransformer', variant='vit-b/32', embed_dim=32, num_heads=2, out_channels=24",
        "type='VisionTransformer', patch_size=14, embed_dim=32, num_heads=2, depth=4",
        "type='VisionTransformer', patch_size=8, embed_dim=32, num_heads=2, depth=1",
        "type='VisionTransformer', patch_size=20, embed_dim=32, num_heads=2, depth=2, "
        "pyramid=false, out_indices=[0, 1]",
        "type='SwinTransformer', embed_dims=24",
        "type='SwinTransformer', variant='base', "
        "embed_dims=16, num_heads=[1, 2, 4, 8], window_size=3, out_indices=[1, 2]",
        "type='SwinTransformer', patch_size=2, embed_dims=16, depths=[1, 2], num_heads=[2, 4], "
        "out_indices=[0, 1], patch_norm=false, qk_scale=0.1, drop_rate=0.1, attn_drop_rate=0.1"));

// Counts of the HRNet paper's repository and of segmentation_models_pytorch's encoders.
TEST(Backbones, HaveTheirReferencesParameters) {
  // Of EfficientNets, of so many in all, those that a feature depends on.
  const std::map<std::int64_t, std::int64_t> kUsed = {
      {4007548, 3595388},   {6513184, 6101024},   {7700994, 7202562},   {10696232, 10103336},
      {17548616, 16742216}, {28340784, 27288112}, {40735704, 39403992}, {63786960, 62143440}};
  const std::map<std::string, std::int64_t> expected = {
      {"type='HRNet', width=18", 9562260},
      {"type='HRNet', width=30", 25812276},
      {"type='HRNet', width=32", 29305536},
      {"type='HRNet', width=40", 45521216},
      {"type='HRNet', width=44", 54974640},
      {"type='HRNet', width=48", 65325120},
      {"type='HRNet', width=64", 115697600},
      {"type='HRNet', variant='w18_small'", 1477920},
      {"type='HRNet', variant='w18_small_v2'", 3860720},
      {"type='ResNeXt', depth=50", 22979904},
      {"type='EfficientNet', variant='b0'", 3595388},
      {"type='EfficientNet', variant='b0', keep_head=true", 4007548},
      {"type='EfficientNet', variant='b1', keep_head=true", 6513184},
      {"type='EfficientNet', variant='b2', keep_head=true", 7700994},
      {"type='EfficientNet', variant='b3', keep_head=true", 10696232},
      {"type='EfficientNet', variant='b4', keep_head=true", 17548616},
      {"type='EfficientNet', variant='b5', keep_head=true", 28340784},
      {"type='EfficientNet', variant='b6', keep_head=true", 40735704},
      {"type='EfficientNet', variant='b7', keep_head=true", 63786960},
      // Of CLIP, OpenAI's archives less the text tower and logit_scale, and with positions for
      // larger images and the pyramid.
      {"type='CLIPResNetWithAttention', input_resolution=224", 102007137 - 63690240 - 1},
      {"type='CLIPResNetWithAttention'", 38740832},
      {"type='CLIPResNetWithAttention', layers=[3, 4, 23, 3], output_dim=512, "
       "input_resolution=224",
       119688033 - 63428096 - 1},
      {"type='CLIPVisionTransformer', input_resolution=224, pyramid=false",
       149620737 - 63428096 - 1},
      {"type='CLIPVisionTransformer'", 86238720 + 7087872},
      {"type='VisionTransformer', variant='deit-tiny', pyramid=false", 5524416},
      {"type='VisionTransformer', pyramid=false", 21665664},
      {"type='VisionTransformer', pyramid=false, img_size=256", 21688704},
      {"type='VisionTransformer', img_size=256, out_channels=768", 29072256},
      {"type='VisionTransformer', variant='deit-base', pyramid=false", 85798656},
      {"type='VisionTransformer', variant='vit-b/32', pyramid=false", 87455232},
      {"type='VisionTransformer', variant='vit-b/8', pyramid=false", 85807872},
      {"type='SwinTransformer'", 27520698},
      {"type='SwinTransformer', variant='small'", 48838602},
      {"type='SwinTransformer', variant='base'", 86745016}};
  for (const auto& [options, count] : expected) {
    const Built built = build(options);
    EXPECT_EQ(parameters(*built.backbone), count) << options;
    const auto used = kUsed.find(count);
    if (used == kUsed.end()) continue;
    std::int64_t learns = 0;
    for (const at::Tensor& parameter : built.backbone->parameters()) {
      if (parameter.requires_grad()) learns += parameter.numel();
    }
    EXPECT_EQ(learns, used->second) << options;
  }
}

TEST(Backbones, HaveTheirReferencesKeys) {
  for (const char* type : {"ResNet", "ResNetV1c", "ResNetV1d"}) {
    for (const char* depth : {"18", "34", "50", "101", "152"}) {
      std::string file = std::string("keys/") + type + depth + ".txt";
      std::transform(file.begin(), file.end(), file.begin(), ::tolower);
      tests::parity::expect_keys(
          file, *build("type='" + std::string(type) + "', depth=" + depth).backbone);
    }
  }
  for (const char* width : {"18", "32", "40", "44", "48", "64"}) {
    tests::parity::expect_keys("keys/hrnet_w" + std::string(width) + ".txt",
                               *build("type='HRNet', width=" + std::string(width)).backbone);
  }
}

TEST(Backbones, TakeImagesOfAnyNumberOfBands) {
  for (const char* options :
       {"type='ResNetV1c', depth=18", "type='HRNet', variant='w18_small'", "type='EfficientNet'"}) {
    Built built = build(options, 5);
    built.backbone->eval();
    EXPECT_EQ(built.backbone->forward(at::rand({1, 5, 32, 32})).levels.size(), 4) << options;
  }
}

TEST(Backbones, OfClipGiveEmbeddingsWhereTheyAreAskedFor) {
  const at::NoGradGuard no_grad;
  for (const auto& [options, places] :
       {std::pair{"type='CLIPResNetWithAttention', layers=[1, 1, 1, 1], width=4, output_dim=8", 3},
        {"type='CLIPVisionTransformer', width=64, layers=4, heads=1, output_dim=8", 5}}) {
    Built built = build(options);
    EXPECT_EQ(built.spec.extras, (std::map<std::string, std::int64_t>{{"dense", 8}, {"global", 8}}));
    built.backbone->eval();
    const Features features = built.backbone->forward(at::rand({2, 3, 65, 70}));
    EXPECT_EQ(features.extras.at("global").sizes(), (std::vector<std::int64_t>{2, 8}));
    EXPECT_EQ(features.extras.at("dense").sizes(),
              (std::vector<std::int64_t>{2, 8, places, places}));
    built = build(std::string(options) + ", get_embeddings=false");
    EXPECT_TRUE(built.spec.extras.empty());
    EXPECT_TRUE(built.backbone->forward(at::rand({2, 3, 64, 64})).extras.empty());
    std::vector<std::string> unused;
    for (const auto& item : built.backbone->named_parameters()) {
      if (!item.value().requires_grad()) unused.push_back(item.key().substr(0, 8));
    }
    EXPECT_THAT(unused, testing::Each(testing::AnyOf("attnpool", "ln_post.", "proj")));
  }
  EXPECT_NE(error_of("type='CLIPVisionTransformer', patch_size=20").find("pyramid = false"),
            std::string::npos);
  EXPECT_NE(error_of("type='CLIPVisionTransformer', out_indices=[1, 2]").find("must be four"),
            std::string::npos);
  EXPECT_NE(error_of("type='CLIPResNetWithAttention', input_resolution=230").find("multiple of 32"),
            std::string::npos);
}

TEST(Backbones, FoldFrozenBatchNormsInTrainingSteps) {
  Built built = build("type='CLIPResNetWithAttention', layers=[1, 1, 1, 1], width=4");
  const at::Tensor image = at::rand({1, 3, 64, 64});
  built.backbone->eval();
  at::Tensor want;
  {
    const at::NoGradGuard no_grad;
    want = built.backbone->forward(image).levels[3];
  }
  const at::Tensor learning = built.backbone->forward(image).levels[3];
  EXPECT_TRUE(learning.requires_grad());
  for (at::Tensor& parameter : built.backbone->parameters()) parameter.set_requires_grad(false);
  const at::Tensor frozen = built.backbone->forward(image).levels[3];
  EXPECT_TRUE(at::equal(frozen, want));  // the very same path
  EXPECT_FALSE(frozen.requires_grad());
  EXPECT_TRUE(at::allclose(frozen, learning, 1e-4, 1e-5));
}

// What is folded of a frozen tower is kept between training steps, until its weights change.
TEST(Backbones, FoldAFrozenTowerAnewWhenItChanges) {
  Built built = build(
      "type='SideFusionCLIP', clip={type='CLIPResNetWithAttention', layers=[1, 1, 1, 1], width=4}, "
      "rs_backbone={type='ResNet', depth=18}, bridge={type='BridgingModule'}");
  const at::Tensor image = at::rand({2, 3, 64, 64}).contiguous(at::MemoryFormat::ChannelsLast);
  built.backbone->train();
  const auto global = [&] { return built.backbone->forward(image).extras.at("global").clone(); };
  const at::Tensor first = global();
  EXPECT_TRUE(at::equal(global(), first));
  auto buffers = built.backbone->named_buffers();
  buffers["clip.bn1.running_mean"].add_(1);
  const at::Tensor moved = global();
  EXPECT_FALSE(at::allclose(moved, first));
  built.backbone->eval();  // nothing is kept from call to call
  EXPECT_TRUE(at::allclose(global(), moved, 1e-4, 1e-5));
}

TEST(Backbones, PadEfficientNetForItsNominalResolution) {
  // b0 pads strided layers after the image only: every level is a floor. b2 pads three of them on
  // both sides, which rounds up.
  EXPECT_EQ(heights("type='EfficientNet', variant='b0'", 71),
            (std::vector<std::int64_t>{17, 8, 4, 2}));
  EXPECT_EQ(heights("type='EfficientNet', variant='b2'", 71),
            (std::vector<std::int64_t>{17, 9, 5, 3}));
}

// The zeros in front of and behind strided layers of stages 2, 3, 4 and 6, which the reference
// computes for each variant's nominal resolution: one more behind halves a size down, as many on
// both sides halve it up. Sizes are taken that meet every such layer with an odd one.
TEST(Backbones, PadEveryEfficientNetAsTheReference) {
  const at::NoGradGuard no_grad;
  // By the table: S2 (0,1); S3 (1,2) or (2,2); S4 (0,1) or (1,1); S6 (1,2) or (2,2).
  const std::vector<std::string> table = {"0000", "0001", "0111", "0101",
                                          "0100", "0011", "0001", "0010"};
  for (std::size_t b = 0; b < 8; ++b) {
    Built built = build("type='EfficientNet', variant='b" + std::to_string(b) + "'");
    built.backbone->eval();
    std::array<bool, 4> met{};
    for (const std::int64_t size : {62, 70, 74, 78, 94}) {
      std::int64_t want = size / 2;  // the stem's (0, 1)
      const Features features = built.backbone->forward(at::zeros({1, 3, size, size}));
      for (std::size_t level = 0; level < 4; ++level) {
        met[level] = met[level] || want % 2 == 1;
        want = table[b][level] == '1' ? (want + 1) / 2 : want / 2;
        EXPECT_EQ(features.levels[level].size(2), want) << b << " of " << size << " level " << level;
      }
    }
    EXPECT_EQ(met, (std::array{true, true, true, true})) << b;
  }
}

TEST(Backbones, LetTheFirstPixelOfAnEfficientNetMeetOneTapOnly) {
  const at::NoGradGuard no_grad;
  Built built = build("type='EfficientNet', out_indices=[-1]");
  built.backbone->eval();
  EXPECT_EQ(built.backbone->forward(at::zeros({1, 3, 256, 256})).levels[0].sizes(),
            (at::IntArrayRef{1, 32, 128, 128}));
  at::Tensor weight = built.backbone->named_parameters()["_conv_stem.weight"];
  weight.index_put_({at::indexing::Slice(), at::indexing::Slice(), 0, 0}, 1.0F);
  at::Tensor image = at::zeros({1, 3, 32, 32});
  const at::Tensor rest = built.backbone->forward(image).levels[0];
  image.index_put_({0, 0, 0, 0}, 1.0F);
  const at::Tensor first = built.backbone->forward(image).levels[0];
  const at::Tensor differs = first.ne(rest).any(1)[0];
  EXPECT_TRUE(differs[0][0].item<bool>());
  EXPECT_EQ(differs.sum().item<std::int64_t>(), 1);
  weight.index_put_({at::indexing::Slice(), at::indexing::Slice(), 0, 0}, 0.0F);
  EXPECT_TRUE(at::equal(built.backbone->forward(image).levels[0], rest));
}

TEST(Backbones, GiveEfficientNetsLevelsAtTheirSizes) {
  const at::NoGradGuard no_grad;
  Built built = build("type='EfficientNet', out_indices=[-1, 0, 1, 2, 3]");
  built.backbone->eval();
  std::vector<std::pair<std::int64_t, std::int64_t>> levels;
  for (const auto& level : built.backbone->forward(at::zeros({1, 3, 256, 256})).levels) {
    levels.emplace_back(level.size(1), level.size(2));
  }
  EXPECT_EQ(levels, (std::vector<std::pair<std::int64_t, std::int64_t>>{
                        {32, 128}, {24, 64}, {40, 32}, {112, 16}, {320, 8}}));
}

TEST(Backbones, DropEfficientNetsBranchesMoreAndMore) {
  for (const auto& [variant, blocks] : {std::pair{"b0", 16}, std::pair{"b1", 23}}) {
    const Built built = build("type='EfficientNet', variant='" + std::string(variant) + "'");
    int found = 0;
    for (const auto& item : built.backbone->named_modules()) {
      const auto* drop = item.value()->as<nn::DropPath>();
      if (drop == nullptr) continue;
      const int block = std::stoi(item.key().substr(std::string("_blocks.").size()));
      EXPECT_NEAR(drop->probability(), 0.2 * block / blocks, 1e-15) << item.key();
      ++found;
      const at::Tensor x = at::rand({4, 2, 3, 3});
      item.value()->eval();
      EXPECT_TRUE(at::equal(drop->forward(x), x));
    }
    EXPECT_EQ(found, blocks - 7);  // the first block of each of seven stages adds nothing
  }
}

// Of weights for a classifier, one keeps what no feature depends on, one leaves it out.
TEST(Backbones, TakeEfficientNetsHeadWhereItIs) {
  for (const std::string head : {"true", "false"}) {
    const auto stored = build("type='EfficientNet', keep_head=true").backbone;
    const auto backbone = build("type='EfficientNet', keep_head=" + head).backbone;
    std::vector<std::string> names;
    for (const auto& [name, tensor] : io::state_of(*backbone)) names.push_back(name);
    io::MatchOptions options;
    for (const std::string& layout : backbones::key_layouts()) {
      options.layouts.push_back({layout, backbones::key_rules(layout)});
    }
    TensorMap whole = io::state_of(*stored);
    whole.emplace_back("_fc.weight", at::zeros({10, 1280}));
    const io::KeyMatch match = io::match_keys(whole, names, options);
    EXPECT_TRUE(io::load_state(*backbone, match.tensors, "file", {.pretrained = true}).complete());
    EXPECT_EQ(match.layout, head == "true" ? "lukemelas.efficientnet_head" : "lukemelas.efficientnet");
    const TensorMap timm = io::rename(
        io::state_of(*build("type='EfficientNet'").backbone),
        io::inverse(backbones::key_rules("timm.efficientnet_b0")));
    const io::LoadReport report =
        io::load_state(*backbone, io::match_keys(timm, names, options).tensors, "file",
                       {.pretrained = true});
    EXPECT_EQ(report.fresh.size(), head == "true" ? 5U : 0U);
  }
}

TEST(Backbones, SendGradientsToEveryTrainedParameter) {
  for (const char* options :
       {"type='ResNet', depth=18, zero_init_residual=false", "type='ResNetV1d', depth=50",
        "type='HRNet', variant='w18_small'", "type='EfficientNet', keep_head=true",
        "type='EfficientNet', out_indices=[0, 1]", "type='ResNet', depth=18, out_indices=[0]",
        "type='HRNet', variant='w18_small', out_indices=[0]",
        "type='VisionTransformer', embed_dim=32, num_heads=2, out_channels=24",
        "type='VisionTransformer', embed_dim=32, num_heads=2, pyramid=false, out_indices=[2]",
        "type='SwinTransformer', embed_dims=24",
        "type='SwinTransformer', embed_dims=24, "
        "out_indices=[0, 1]"}) {
    Built built = build(options);
    built.backbone->train();
    at::Tensor loss = at::zeros({});
    for (const auto& level : built.backbone->forward(at::rand({2, 3, 64, 64})).levels) {
      loss = loss + level.square().mean();
    }
    loss.backward();
    for (const auto& item : built.backbone->named_parameters()) {
      EXPECT_EQ(item.value().grad().defined(), item.value().requires_grad())
          << options << " " << item.key();
    }
  }
}

TEST(Backbones, KeepStatisticsWithNormEval) {
  for (const char* options :
       {"type='ResNet', depth=18, norm_eval=true", "type='EfficientNet', norm_eval=true",
        "type='HRNet', variant='w18_small', norm_eval=true"}) {
    Built built = build(options);
    built.backbone->train();
    built.backbone->forward(at::rand({2, 3, 64, 64}));
    for (const auto& item : built.backbone->named_buffers()) {
      if (item.key().find("running_mean") == std::string::npos) continue;
      EXPECT_EQ(item.value().abs().max().item<double>(), 0) << options << " " << item.key();
    }
  }
}

TEST(Backbones, GiveEveryParameterToOneLayer) {
  for (const char* options :
       {"type='VisionTransformer', embed_dim=32, num_heads=2, out_channels=24",
        "type='SwinTransformer', embed_dims=24",
        "type='SwinTransformer', embed_dims=24, "
        "out_indices=[1, 2]",
        "type='EfficientNet', keep_head=true", "type='HRNet'"}) {
    const Built built = build(options);
    std::map<std::string, int> seen;
    for (const auto& layer : built.backbone->layers()) {
      for (const std::string& path : layer) {
        for (const auto& item : built.backbone->named_parameters()) {
          seen[item.key()] += item.key() == path || item.key().starts_with(path + ".");
        }
      }
    }
    for (const auto& [name, count] : seen) EXPECT_EQ(count, 1) << options << " " << name;
    EXPECT_EQ(seen.size(), built.backbone->parameters().size());
  }
}

// Classifiers of 14 x 14 patches serve 16 x 16, and of a distilled DeiT's two tokens one stays.
TEST(Backbones, TakeWeightsOfClassifiers) {
  const char* toml =
      "type='VisionTransformer', embed_dim=8, num_heads=2, depth=2, out_indices="
      "[0, 0, 1, 1], img_size=";
  const auto stored = build(toml + std::string("224, pyramid=false")).backbone;
  const auto backbone = build(toml + std::string("256, out_channels=4")).backbone;
  TensorMap file = io::state_of(*stored);
  file.emplace_back("head.weight", at::zeros({10, 8}));
  const auto load = [&](const TensorMap& tensors) {
    return io::load_state(*backbone, io::rename(tensors, backbones::key_rules("timm.vit")), "file",
                          {.pretrained = true});
  };
  const io::LoadReport report = load(file);
  EXPECT_EQ(report.adapted,
            std::vector<std::string>{"pos_embed: file [1, 197, 8], model [1, 257, 8]"});
  EXPECT_EQ(report.fresh.size(), 20U);  // the projection's and the pyramid's
  EXPECT_EQ(report.matched.size(), file.size() - 2);
  const at::Tensor resized = backbone->named_parameters()["pos_embed"].clone();
  for (auto& [name, tensor] : file) {
    if (name != "pos_embed") continue;
    tensor = at::cat({tensor.narrow(1, 0, 1), at::ones({1, 1, 8}), tensor.narrow(1, 1, 196)}, 1);
  }
  file.emplace_back("dist_token", at::zeros({1, 1, 8}));
  load(file);
  EXPECT_TRUE(at::equal(backbone->named_parameters()["pos_embed"], resized));
  // A checkpoint of this model must be whole.
  EXPECT_THROW(io::load_state(*backbone, io::state_of(*stored), "file"), io::WeightsError);
}

TEST(Backbones, StartTheSameFromTheSameSeed) {
  for (const char* options : {"type='ResNet', depth=18", "type='EfficientNet'"}) {
    at::manual_seed(7);
    const TensorMap first = io::state_of(*build(options).backbone);
    at::manual_seed(7);
    const TensorMap second = io::state_of(*build(options).backbone);
    for (std::size_t i = 0; i < first.size(); ++i) {
      EXPECT_TRUE(at::equal(first[i].second, second[i].second)) << first[i].first;
    }
  }
}

TEST(Backbones, ExplainWhatDoesNotFit) {
  const std::map<std::string, std::string> expected = {
      {"type='ResNet', depth=20", "model.backbone.depth: must be 18, 34, 50, 101 or 152, got 20"},
      {"type='ResNet', output_stride=4",
       "model.backbone.output_stride: must be 32, 16 or 8, got 4"},
      {"type='ResNet', output_stride=8, strides=[1, 2, 1, 1]",
       "model.backbone.output_stride: cannot be combined with strides or dilations"},
      {"type='ResNet', strides=[1, 2, 0, 1]", "model.backbone.strides: must be at least 1, got 0"},
      {"type='ResNet', depth=18, groups=32",
       "model.backbone.groups: needs bottleneck blocks; depth 18 has none, use 50, 101 or 152"},
      {"type='ResNet', multi_grid=[1, 2]",
       "model.backbone.multi_grid: must have one dilation for each of the 3 blocks of the last "
       "stage, got 2"},
      {"type='ResNet', out_indices=[0, 4]",
       "model.backbone.out_indices: no such level, got 4; levels are -1 (the stem) to 3"},
      {"type='HRNet', out_indices=[1, 0]",
       "model.backbone.out_indices: levels must be listed from fine to coarse, got 0 after 1"},
      {"type='HRNet', width=20",
       "model.backbone.width: must be 18, 30, 32, 40, 44, 48 or 64, got 20"},
      {"type='HRNet', width=18, variant='w18'",
       "model.backbone.variant: cannot be combined with width"},
      {"type='VisionTransformer', num_heads=5",
       "model.backbone.num_heads: must divide the width of a token, 384, got 5"},
      {"type='VisionTransformer', out_indices=[3, 5, 12]",
       "model.backbone.out_indices: blocks are 0 to 11, got 12"},
      {"type='VisionTransformer', out_indices=[3, 2]",
       "model.backbone.out_indices: must rise, got 2 after 3"},
      {"type='VisionTransformer', out_indices=[3, 5]",
       "model.backbone.out_indices: a pyramid is made of four, got 2; write four, or pyramid = "
       "false"},
      {"type='VisionTransformer', patch_size=12",
       "model.backbone.patch_size: a pyramid needs patches of 8, 14, 16 or 32, got 12; change it, "
       "or write pyramid = false"},
      {"type='SwinTransformer', depths=[2, 2]",
       "model.backbone.num_heads: must have one number for each of the 2 stages, got 4"},
      {"type='SwinTransformer', num_heads=[3, 6, 13, 24]",
       "model.backbone.num_heads: must divide the width of stage 2, 384, got 13"},
      {"type='SwinTransformer', out_indices=[0, 4]",
       "model.backbone.out_indices: stages are 0 to 3, got 4"},
      {"type='SwinTransformer', out_indices=[1, 0]",
       "model.backbone.out_indices: levels must be listed from fine to coarse, got 0 after 1"},
      {"type='ResNet', depth=18, norm={type='GN', groups=48}",
       "model.backbone.norm: groups must divide the 64 channels of every layer, got 48"}};
  for (const auto& [options, message] : expected) {
    EXPECT_NE(error_of(options).find(message), std::string::npos)
        << options << "\n  got: " << error_of(options) << "\n  want: " << message;
  }
}

}  // namespace
}  // namespace strata
