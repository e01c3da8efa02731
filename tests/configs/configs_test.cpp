// Every config that is shipped: it loads, its shapes fit, and its model takes a training step on
// synthetic input. STRATA_FULL=1 (tools/check --full) uses the config's own crop size.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "framework/engine/experiment.hpp"
#include "framework/engine/session.hpp"
#include "registry/builtin.hpp"
#include "tests/configs/shrunk.hpp"
#include "tests/configs/step.hpp"

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

/// Models of one description are tried once; that of the first config stands for them.
bool is_new(const Experiment& experiment) {
  static std::set<std::string> seen;
  const config::Value all =
      config::dump_object(config::schema_of<Experiment>(), &experiment, /*full=*/false);
  std::string model = all.at("model")->str() + std::to_string(experiment.data.channels);
  for (const LabelSpec& label : experiment.labels.all()) {
    model += " " + label.name + std::to_string(label.num_classes());
  }
  return seen.insert(model).second;
}

class ShippedConfig : public testing::TestWithParam<std::string> {};

TEST_P(ShippedConfig, LoadsAndTakesAStep) {
  Registry registry;
  register_builtin_components(registry);
  const std::vector<std::string> as_it_is = tests::vocabulary_for(GetParam());
  const Experiment experiment = load_experiment(GetParam(), as_it_is, registry);
  EXPECT_TRUE(experiment.document.warnings.empty())
      << experiment.document.warnings.front().str();
  ASSERT_TRUE(experiment.data.train);
  ASSERT_FALSE(experiment.optimizer.sets.empty());
  if (!is_new(experiment)) return;
  const bool full = std::getenv("STRATA_FULL") != nullptr;
  const Experiment tried =
      load_experiment(GetParam(), full ? as_it_is : tests::shrunk(GetParam()), registry);
  auto model = tried.build_model();
  tests::step(*model, tried, full ? 256 : 64, true);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = fs::path(info.param).lexically_relative(STRATA_SOURCE_DIR "/configs").string();
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Configs, ShippedConfig, testing::ValuesIn(shipped_configs()), test_name);

// ---------------------------------------------------------------------------------------------
// The optimizer groups of VLCD and ChangeCLIP are those that upstream's custom_keys make.

using Multipliers = std::pair<double, double>;  // of rate and decay

std::map<std::string, Multipliers> multipliers(const std::string& name) {
  const std::string path = STRATA_SOURCE_DIR "/configs/" + name;
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(path, tests::shrunk(path), registry);
  const auto model = experiment.build_model();
  const auto plans = engine::plan_trainers(experiment, *model, nullptr);
  const OptimizerOptions& own =
      experiment.optimizer.sets.front().second.ask(&Optimizer::Statics::common);
  std::map<std::string, Multipliers> all;
  for (const ParameterGroup& group : plans.front().second.groups) {
    for (const std::string& parameter : group.names) {
      all[parameter] = {group.lr / own.lr, group.weight_decay / own.weight_decay};
    }
  }
  for (const auto& item : model->named_parameters()) {
    EXPECT_EQ(item.value().requires_grad(), all.contains(item.key())) << item.key();
  }
  return all;
}

bool holds(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}

TEST(Paramwise, OfVlcdIsUpstreamsTable) {
  for (const char* config : {"vlcd/vlcd_r50_levir.toml", "vlcd/vlcd_vit-b16_levir.toml"}) {
    const auto all = multipliers(config);
    std::map<std::string, int> kinds;
    for (const auto& [name, got] : all) {
      EXPECT_FALSE(name.starts_with("text_encoder.")) << name;
      Multipliers want{1, 1};
      std::string kind = "no rule";
      if (holds(name, "relative_position_bias_table")) {
        want = {1, 0}, kind = "table";
      } else if (name.starts_with("backbone.clip.")) {
        EXPECT_TRUE(name.starts_with("backbone.clip.fpn")) << name;
        kind = "pyramid";
      } else if (name.starts_with("backbone.") || name.starts_with("decode_head.") ||
                 name.starts_with("neck.") || name.starts_with("learnable_prompt.")) {
        kind = name.substr(0, name.find('.'));  // norms among them
      } else if (name.starts_with("context_decoder.decoder.") && holds(name, ".norm")) {
        want = {1, 0}, kind = "norm";
      }
      ++kinds[kind];
      EXPECT_NEAR(got.first, want.first, 1e-12) << name;
      EXPECT_NEAR(got.second, want.second, 1e-12) << name;
    }
    for (const char* kind : {"table", "backbone", "decode_head", "neck", "learnable_prompt", "norm",
                             "no rule"}) {
      EXPECT_GT(kinds[kind], 0) << config << " " << kind;
    }
    EXPECT_EQ(kinds["pyramid"] > 0, holds(config, "vit"));
    EXPECT_EQ(all.count("gamma"), 1U);
    EXPECT_EQ(all.count("learnable_prompt.ctx"), 1U);
  }
}

TEST(Paramwise, OfChangeClipTrainsAllAndSparesNorms) {
  for (const char* config :
       {"changeclip/changeclip_r50_levir.toml", "changeclip/changeclip_vit-b16_levir.toml"}) {
    int clip = 0, spared = 0;
    for (const auto& [name, got] : multipliers(config)) {
      const bool spares = holds(name, "norm") || holds(name, "relative_position_bias_table");
      EXPECT_NEAR(got.first, 1, 1e-12) << name;
      EXPECT_NEAR(got.second, spares ? 0 : 1, 1e-12) << name;
      clip += name.starts_with("backbone.") || name.starts_with("text_encoder.");
      spared += spares;
    }
    EXPECT_GT(clip, 0);
    EXPECT_GT(spared, 0);
  }
}

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
  const std::set<std::string> fusing{"DFC", "SiameseFusion", "SimpleCFC",
                                     "TemporalSymmetricTransformer"};
  for (const std::string& head : registry.names("head")) {
    // Its norms have half the channels.
    const std::string more = head == "SwinTextDecode" ? ", norm = {type = \"GN\", groups = 8}" : "";
    for (const std::string& neck : registry.names("neck")) {
      if (neck == "CFC") continue;  // relates images to texts: see the configs of VLCD
      const bool fuses = fusing.contains(neck);
      // The stem, which U-Net's fifth block joins, is no level unless it is asked for.
      const std::string own = "{type = \"" + neck + "\"" +
                              (neck == "UnetDecoder" ? ", decoder_channels = [64, 32, 16, 8]" : "") + "}";
      // One model a pair: the siamese one with every fusion, the plain one with and without neck.
      for (const bool siamese : {false, true}) {
        if (fuses && !siamese) continue;
        const std::string necks =
            !siamese || fuses ? own : "[" + own + ", {type = \"SiameseFusion\"}]";
        const std::string text = labels + "[model]\ntype = \"" +
                                 (siamese ? "SiameseEncoderDecoder" : "EncoderDecoder") +
                                 "\"\nbackbone = {type = \"ResNet\", depth = 50}\nneck = " + necks +
                                 "\ndecode_head = {type = \"" + head + "\", channels = 32" + more + "}\n";
        SCOPED_TRACE(text);
        const Experiment experiment = bind_experiment(
            config::load_text(text, "swap.toml", {"model.backbone=" + GetParam()}), "swap",
            registry);
        auto model = experiment.build_model();
        tests::step(*model, experiment, 64, false);
        tried.insert(head + " " + neck);
      }
    }
    // And without any neck.
    const Experiment experiment = bind_experiment(
        config::load_text(labels +
                              "[model]\ntype = \"EncoderDecoder\"\nbackbone = {type = \"ResNet\"}\n"
                              "decode_head = {type = \"" + head + "\", channels = 32" + more + "}\n"
                              "auxiliary_head = {type = \"FCNHead\", channels = 16}\n",
                          "swap.toml", {"model.backbone=" + GetParam()}),
        "swap", registry);
    tests::step(*experiment.build_model(), experiment, 64, false);
  }
  EXPECT_EQ(tried.size(), registry.names("head").size() * (registry.names("neck").size() - 1));
}

INSTANTIATE_TEST_SUITE_P(Backbones, Swap, testing::ValuesIn(kBackbones),
                         [](const testing::TestParamInfo<std::string>& param) {
                           return param.param.find("ResNet") != std::string::npos   ? "ResNet"
                                  : param.param.find("HRNet") != std::string::npos ? "HRNet"
                                                                                  : "EfficientNet";
                         });

}  // namespace
}  // namespace strata
