// Necks against their references' numbers, and what they derive and refuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "backbones/backbone.hpp"
#include "necks/neck.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

Slot<Neck> neck_slot(const std::string& table) {
  return bind_slot<Neck>("neck = " + table + "\n", "neck");
}

std::string error_of(const std::string& table, const FeatureSpec& input) {
  return message_of([&] { neck_slot(table).ask(&Neck::Statics::output, input); });
}

class NeckParity : public testing::TestWithParam<std::string> {};

TEST_P(NeckParity, MatchesItsReference) {
  parity::check_component(GetParam(), [](const parity::Case& fixture) {
    std::vector<std::int64_t> channels;
    for (const auto& [name, shape] : fixture.inputs) channels.push_back(shape[1]);
    const Slot<Neck> slot = bind_slot<Neck>(fixture.strata, "model.neck");
    auto neck = slot.build({levels_of(channels)});
    const FeatureSpec promised = slot.ask(&Neck::Statics::output, levels_of(channels));
    parity::Forward forward = [neck, promised](const std::vector<at::Tensor>& inputs) {
      const DateFeatures outs = neck->forward({{inputs, {}}});
      TensorMap named;
      for (std::size_t i = 0; i < outs.front().levels.size(); ++i) {
        named.emplace_back("feat." + std::to_string(i), outs.front().levels[i]);
        EXPECT_EQ(outs.front().levels[i].size(1), promised.levels.at(i).channels);
      }
      EXPECT_EQ(outs.front().levels.size(), promised.levels.size());
      return named;
    };
    return std::pair<std::shared_ptr<torch::nn::Module>, parity::Forward>(neck, forward);
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, NeckParity, testing::ValuesIn(parity::case_names("neck")),
                         [](const auto& test) { return test.param; });

TEST(Fpn, DerivesItsOutput) {
  const FeatureSpec spec = neck_slot("{type = \"FPN\", out_channels = 32, num_outs = 5}")
                               .ask(&Neck::Statics::output, levels_of({8, 16, 24}, 2));
  EXPECT_EQ(spec.str(), "2 x (32@4 32@8 32@16 32@32 32@64)");
}

TEST(Fpn, WorksOnEachDateAlone) {
  auto neck = neck_slot("{type = \"FPN\", out_channels = 4}").build({levels_of({3, 5}, 2)});
  const Features a{{at::randn({1, 3, 8, 8}), at::randn({1, 5, 4, 4})}, {}};
  const Features b{{at::randn({1, 3, 8, 8}), at::randn({1, 5, 4, 4})}, {}};
  const DateFeatures both = neck->forward({a, b});
  ASSERT_EQ(both.size(), 2U);
  EXPECT_TRUE(at::equal(both[1].levels[0], neck->forward({b})[0].levels[0]));
  EXPECT_TRUE(at::equal(both[0].levels[1], neck->forward({a})[0].levels[1]));
}

TEST(Fpn, SaysWhatDoesNotFit) {
  const FeatureSpec input = levels_of({8, 16});
  EXPECT_EQ(error_of("{type = \"FPN\", in_channels = [8, 24]}", input),
            "test.toml:1:37: neck.in_channels: the component in front gives [8, 16], got [8, 24]; "
            "leave it out to have it derived");
  EXPECT_EQ(error_of("{type = \"FPN\", start_level = 2}", input),
            "test.toml:1:37: neck.start_level: levels 2 to 1 are no part of the 2 levels in front "
            "(8@4 16@8), got 2");
  EXPECT_EQ(error_of("{type = \"FPN\", num_outs = 1}", input),
            "test.toml:1:34: neck.num_outs: 2 levels are used, so it must be at least that, got 1");
}

FeatureSpec levels_at(const std::vector<std::int64_t>& strides, std::int64_t dates = 1) {
  FeatureSpec spec;
  spec.dates = dates;
  for (const std::int64_t stride : strides) spec.levels.push_back({"x", 8, stride});
  return spec;
}

std::string unet_output(const std::string& options, const FeatureSpec& input) {
  return neck_slot("{type = \"UnetDecoder\"" + options + "}")
      .ask(&Neck::Statics::output, input)
      .str();
}

TEST(UnetDecoder, DerivesItsOutput) {
  EXPECT_EQ(unet_output("", levels_at({2, 4, 8, 16, 32}, 2)), "2 x (16@1)");
  EXPECT_EQ(unet_output("", levels_at({1, 2, 4, 8, 16, 32})), "16@1");
  EXPECT_EQ(unet_output(", decoder_channels = [64, 32, 24]", levels_at({4, 8, 16, 32})), "24@4");
  EXPECT_EQ(unet_output(", decoder_channels = [64, 32, 24, 20]", levels_at({4, 8, 16, 32})),
            "20@2");
}

TEST(UnetDecoder, SaysWhatDoesNotFit) {
  const auto error = [](const std::string& options, const std::vector<std::int64_t>& strides) {
    return error_of("{type = \"UnetDecoder\"" + options + "}", levels_at(strides));
  };
  EXPECT_EQ(error("", {4, 8, 16, 32}),
            "test.toml:1:8: neck.decoder_channels: 5 blocks need a level at stride 2, got 8@4 8@8 "
            "8@16 8@32; write out_indices = [-1, 0, 1, 2, 3] in the backbone for its stem, or "
            "fewer blocks");
  EXPECT_EQ(error("", {8, 16, 32}),
            "test.toml:1:8: neck.decoder_channels: 5 blocks need levels at strides 2 and 4, got "
            "8@8 8@16 8@32; let the backbone give them (out_indices), or write fewer blocks");
  EXPECT_EQ(error("", {2, 4, 8, 8, 8}),
            "test.toml:1:8: neck: joins levels of which each has half the size of the one before, "
            "got 8@2 8@4 8@8 8@8 8@8; use a backbone without dilation, and out_indices without a "
            "gap");
  EXPECT_EQ(error(", decoder_channels = [4]", {4, 8, 16, 32}),
            "test.toml:1:50: neck.decoder_channels: 4 levels in front (8@4 8@8 8@16 8@32) need 3 "
            "blocks or more, got 1");
  EXPECT_EQ(error(", decoder_channels = [4, 4]", {1, 2}),
            "test.toml:1:50: neck.decoder_channels: 1 block leads from 8@1 8@2 to the size of the "
            "images, got 2");
  EXPECT_EQ(error(", decoder_channels = [4, 0]", {2, 4}),
            "test.toml:1:50: neck.decoder_channels: must be at least 1 each, got [4, 0]");
}

// Names, shapes and counts of smp.Unet("efficientnet-b0"), without its head.
TEST(UnetDecoder, HasItsReferencesKeysBehindEfficientNet) {
  struct Holder : torch::nn::Module {};
  Holder model;
  const Slot<Backbone> backbone = bind_slot<Backbone>(
      "backbone = {type = \"EfficientNet\", out_indices = [-1, 0, 1, 2, 3], keep_head = true}",
      "backbone");
  const FeatureSpec image = FeatureSpec::image(3);
  model.register_module("backbone", backbone.build({image}));
  model.register_module("neck", neck_slot("{type = \"UnetDecoder\"}")
                                    .build({backbone.ask(&Backbone::Statics::output, image)}));
  parity::expect_keys("keys/unet_efficientnet_b0.txt", model);
}

TEST(UnetDecoder, WorksOnEachDateAlone) {
  auto neck =
      neck_slot("{type = \"UnetDecoder\", decoder_channels = [6, 4]}").build({levels_at({2, 4}, 2)});
  const Features a{{at::randn({2, 8, 32, 32}), at::randn({2, 8, 16, 16})}, {}};
  const Features b{{at::randn({2, 8, 32, 32}), at::randn({2, 8, 16, 16})}, {}};
  const DateFeatures both = neck->forward({a, b});
  ASSERT_EQ(both.size(), 2U);
  EXPECT_EQ(both[0].levels[0].sizes(), (at::IntArrayRef{2, 4, 64, 64}));
  EXPECT_TRUE(at::equal(both[1].levels[0], neck->forward({b})[0].levels[0]));
}

at::Tensor fuse(const std::string& options, const std::vector<at::Tensor>& dates) {
  const FeatureSpec input =
      levels_of({dates.front().size(1)}, static_cast<std::int64_t>(dates.size()));
  const Slot<Neck> slot = neck_slot("{type = \"SiameseFusion\", " + options + "}");
  DateFeatures features;
  for (const at::Tensor& date : dates) features.push_back({{date}, {}});
  const DateFeatures fused = slot.build({input})->forward(features);
  const FeatureSpec promised = slot.ask(&Neck::Statics::output, input);
  EXPECT_EQ(fused.size(), 1U);
  EXPECT_EQ(promised.dates, 1);
  EXPECT_EQ(fused.front().levels.front().size(1), promised.levels.front().channels);
  return fused.front().levels.front();
}

TEST(SiameseFusion, DoesWhatItsPolicySays) {
  const at::Tensor a = at::tensor({1.0F, 5.0F}).view({1, 2, 1, 1});
  const at::Tensor b = at::tensor({4.0F, 3.0F}).view({1, 2, 1, 1});
  const auto values = [](const at::Tensor& x) {
    return std::vector<float>(x.data_ptr<float>(), x.data_ptr<float>() + x.numel());
  };
  using V = std::vector<float>;
  EXPECT_EQ(values(fuse("policy = \"concat\"", {a, b})), (V{1, 5, 4, 3}));
  EXPECT_EQ(values(fuse("policy = \"concat\"", {a, b, a})), (V{1, 5, 4, 3, 1, 5}));
  EXPECT_EQ(values(fuse("policy = \"difference\"", {a, b})), (V{3, -2}));
  EXPECT_EQ(values(fuse("policy = \"diff\"", {a, b})), (V{3, -2}));
  EXPECT_EQ(values(fuse("policy = \"abs_difference\"", {a, b})), (V{3, 2}));
  EXPECT_EQ(values(fuse("policy = \"abs_diff\"", {a, b})), (V{3, 2}));
  EXPECT_EQ(values(fuse("policy = \"sum\"", {a, b, b})), (V{9, 11}));
  EXPECT_EQ(values(fuse("policy = \"concat\", symmetric = true", {a, b})), (V{5, 8, 3, 2}));
}

TEST(SiameseFusion, IsBlindToTheOrderWhenSymmetric) {
  const at::Tensor a = at::randn({2, 3, 4, 4}), b = at::randn({2, 3, 4, 4});
  for (const char* policy : {"concat", "difference", "abs_difference", "sum"}) {
    const std::string options = "policy = \"" + std::string(policy) + "\", symmetric = true";
    EXPECT_TRUE(at::equal(fuse(options, {a, b}), fuse(options, {b, a}))) << policy;
  }
  EXPECT_FALSE(at::equal(fuse("policy = \"concat\"", {a, b}), fuse("policy = \"concat\"", {b, a})));
}

TEST(SiameseFusion, SaysWhatDoesNotFit) {
  EXPECT_EQ(error_of("{type = \"SiameseFusion\"}", levels_of({8})),
            "test.toml:1:8: neck: fuses the dates of a siamese model, got features of one date; "
            "leave it out, or use SiameseEncoderDecoder");
  EXPECT_EQ(error_of("{type = \"SiameseFusion\", policy = \"difference\"}", levels_of({8}, 3)),
            "test.toml:1:42: neck.policy: \"difference\" compares two dates, got features of 3; "
            "use \"concat\" or \"sum\"");
}

}  // namespace
}  // namespace strata::tests
