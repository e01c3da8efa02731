#include <torch/torch.h>

#include <cstdlib>

#include "backbones/backbone.hpp"
#include "framework/engine/experiment.hpp"
#include "tests/plugins/parts.hpp"

namespace strata::tests {
namespace {

const Backbone::Context kRgb = {FeatureSpec::image(3)};

TEST(TinyBackbone, GivesTheLevelsItPromises) {
  const auto slot = part<Backbone>(R"(type = "TinyBackbone", width = 4)");
  const FeatureSpec promised = slot.ask(&Backbone::Statics::output, kRgb.input);
  EXPECT_EQ(promised.str(), "4@4 8@8 16@16 32@32");

  const auto backbone = slot.build(kRgb);
  const std::int64_t height = 65, width = 96;  // 65: no stride divides it
  const Features features = backbone->forward(torch::rand({2, 3, height, width}));
  ASSERT_EQ(features.levels.size(), promised.levels.size());
  for (std::size_t i = 0; i < promised.levels.size(); ++i) {
    const auto& [name, channels, stride] = promised.levels[i];
    EXPECT_EQ(features.levels[i].sizes(),
              (std::vector<std::int64_t>{2, channels, (height + stride - 1) / stride,
                                         (width + stride - 1) / stride}))
        << "level " << name;
  }
}

TEST(TinyBackbone, HasOneConvolutionAndOneNormALevel) {
  const auto backbone =
      part<Backbone>(R"(type = "TinyBackbone", width = 2)").build({FeatureSpec::image(5)});
  std::int64_t count = 0;
  for (const auto& parameter : backbone->parameters()) count += parameter.numel();
  const std::int64_t convolutions = 5 * 2 * 49 + 2 * 4 * 9 + 4 * 8 * 9 + 8 * 16 * 9;
  const std::int64_t norms = 2 * (2 + 4 + 8 + 16);
  EXPECT_EQ(count, convolutions + norms);
}

TEST(TinyBackbone, EveryParameterGetsAGradient) {
  const auto backbone = part<Backbone>(R"(type = "TinyBackbone", width = 4)").build(kRgb);
  backbone->forward(torch::rand({2, 3, 64, 64})).levels.back().square().sum().backward();
  for (const auto& item : backbone->named_parameters()) {
    ASSERT_TRUE(item.value().grad().defined()) << item.key();
    EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
  }
}

TEST(TinyBackbone, ItsOptionsAreCheckedLikeBuiltIns) {
  EXPECT_EQ(message_of([] { part<Backbone>(R"(type = "TinyBackbone", widht = 4)"); }),
            "test.toml:1:32: part.widht: unknown key; did you mean \"width\"?");
}

TEST(TinyBackbone, ItsConfigGivesAModelThatTrains) {
  setenv("STRATA_PLUGIN_PATH", STRATA_BINARY_DIR "/plugins", 1);
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment =
      load_experiment(STRATA_SOURCE_DIR "/plugins/tiny_backbone/tiny_scenes.toml", {}, registry);
  EXPECT_EQ(registry.find("backbone", "TinyBackbone")->origin, plugin_file("tiny_backbone"));
  EXPECT_EQ(parts().find("backbone", "ResNet")->origin, "built-in");

  torch::manual_seed(0);
  const auto model = experiment.build_model();
  model->train();
  Batch batch;
  for (int date = 0; date < 2; ++date) {
    batch.images.push_back(torch::randint(0, 256, {2, 3, 64, 64}, torch::kByte));
  }
  batch.targets["change"] = {torch::randint(0, 2, {2, 64, 64}, torch::kLong),
                             experiment.labels.get("change")};
  batch.meta.resize(2);
  TrainContext context;
  const Losses losses = model->train_step(batch, context);
  EXPECT_TRUE(std::isfinite(losses.total().item<double>()));
  for (const auto& item : model->named_parameters()) {
    EXPECT_TRUE(item.value().grad().defined()) << item.key();
  }
}

}  // namespace
}  // namespace strata::tests
