// Every config that is shipped: it loads, its shapes fit, and its model takes a training step on
// synthetic input. STRATA_FULL=1 (tools/check --full) uses the config's own crop size.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "framework/engine/experiment.hpp"
#include "registry/builtin.hpp"
#include "tests/support/synthetic.hpp"

namespace strata {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> shipped_configs() {
  std::vector<std::string> paths;
  for (const auto& entry : fs::recursive_directory_iterator(STRATA_SOURCE_DIR "/configs")) {
    const std::string path = entry.path().string();
    const bool piece = path.find("/_base_/") != std::string::npos;
    if (entry.path().extension() == ".toml" && !piece) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

/// One training step of `model` and one prediction, with all that must hold for any model.
/// `all_used`: every trainable parameter must get a gradient (a head that reads one level of HRNet
/// leaves what only the others need without one).
void step(Segmentor& model, const Experiment& experiment, std::int64_t size, bool all_used) {
  const Batch batch = tests::synthetic_batch(experiment.labels, model.dates(),
                                             experiment.data.channels, 2, size, size);
  model.train();
  TrainContext context;
  const Losses losses = model.train_step(batch, context);
  ASSERT_FALSE(losses.terms.empty());
  for (const auto& [name, value] : losses.terms) {
    EXPECT_TRUE(std::isfinite(value.item<double>())) << name;
  }
  std::set<std::string> parts, reached;
  for (const auto& item : model.named_parameters()) {
    if (!item.value().requires_grad()) continue;
    const std::string part = item.key().substr(0, item.key().find('.'));
    parts.insert(part);
    if (item.value().grad().defined()) reached.insert(part);
    if (all_used) {
      EXPECT_TRUE(item.value().grad().defined()) << item.key() << " has no gradient";
    }
  }
  EXPECT_EQ(parts, reached);
  model.eval();
  at::NoGradGuard no_grad;
  for (const auto& [name, output] : model.predict(batch)) {
    const at::Tensor classes = labels(output);
    EXPECT_EQ(classes.sizes(), (at::IntArrayRef{2, size, size})) << name;
  }
}

class ShippedConfig : public testing::TestWithParam<std::string> {};

TEST_P(ShippedConfig, LoadsAndTakesAStep) {
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(GetParam(), {}, registry);
  EXPECT_TRUE(experiment.document.warnings.empty())
      << experiment.document.warnings.front().str();
  ASSERT_TRUE(experiment.data.train);
  ASSERT_FALSE(experiment.optimizer.sets.empty());
  auto model = experiment.build_model();
  step(*model, experiment, std::getenv("STRATA_FULL") != nullptr ? 256 : 64, true);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = fs::path(info.param).lexically_relative(STRATA_SOURCE_DIR "/configs").string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, testing::ValuesIn(shipped_configs()), test_name);

// "Swap model.backbone between all families with one --set, nothing else changed": every backbone
// under every head and neck there is.
const std::vector<std::string> kBackbones{
    R"({type = "ResNet", depth = 18})", R"({type = "HRNet", width = 18})",
    R"({type = "EfficientNet", variant = "b0"})"};

class Swap : public testing::TestWithParam<std::string> {};

TEST_P(Swap, EveryHeadAndNeckRunsOnIt) {
  Registry registry;
  register_builtin_components(registry);
  const std::string labels =
      "[data.labels.change]\nclasses = [\"no\", \"yes\"]\nrole = \"change\"\n";
  std::set<std::string> tried;
  for (const std::string& head : registry.names("head")) {
    for (const std::string& neck : registry.names("neck")) {
      const bool fuses = neck == "SiameseFusion";
      // One model a pair: the siamese one with every fusion, the plain one with and without neck.
      for (const bool siamese : {false, true}) {
        if (fuses && !siamese) continue;
        const std::string necks =
            !siamese ? "{type = \"" + neck + "\"}"
            : fuses  ? "{type = \"" + neck + "\"}"
                     : "[{type = \"" + neck + "\"}, {type = \"SiameseFusion\"}]";
        const std::string text = labels + "[model]\ntype = \"" +
                                 (siamese ? "SiameseEncoderDecoder" : "EncoderDecoder") +
                                 "\"\nbackbone = {type = \"ResNet\", depth = 50}\nneck = " + necks +
                                 "\ndecode_head = {type = \"" + head + "\", channels = 32}\n";
        SCOPED_TRACE(text);
        const Experiment experiment = bind_experiment(
            config::load_text(text, "swap.toml", {"model.backbone=" + GetParam()}), "swap",
            registry);
        auto model = experiment.build_model();
        step(*model, experiment, 64, false);
        tried.insert(head + " " + neck);
      }
    }
    // And without any neck.
    const Experiment experiment = bind_experiment(
        config::load_text(labels +
                              "[model]\ntype = \"EncoderDecoder\"\nbackbone = {type = \"ResNet\"}\n"
                              "decode_head = {type = \"" + head + "\", channels = 32}\n"
                              "auxiliary_head = {type = \"FCNHead\", channels = 16}\n",
                          "swap.toml", {"model.backbone=" + GetParam()}),
        "swap", registry);
    step(*experiment.build_model(), experiment, 64, false);
  }
  EXPECT_EQ(tried.size(), registry.names("head").size() * registry.names("neck").size());
}

INSTANTIATE_TEST_SUITE_P(Backbones, Swap, testing::ValuesIn(kBackbones),
                         [](const testing::TestParamInfo<std::string>& param) {
                           return param.param.find("ResNet") != std::string::npos   ? "ResNet"
                                  : param.param.find("HRNet") != std::string::npos ? "HRNet"
                                                                                  : "EfficientNet";
                         });

}  // namespace
}  // namespace strata
