#include "framework/optim/parameters.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "backbones/backbone.hpp"
#include "framework/base/error.hpp"
#include "framework/config/config.hpp"
#include "framework/config/globs.hpp"
#include "tests/support/build.hpp"

namespace strata::optim {
namespace {

struct BlockImpl : torch::nn::Module {
  BlockImpl() {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(2, 2, 1)));
    bn = register_module("bn", torch::nn::BatchNorm2d(2));
    drop = register_module("drop", torch::nn::Dropout(0.5));
  }
  at::Tensor forward(const at::Tensor& x) { return drop(bn(conv(x))); }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};
  torch::nn::Dropout drop{nullptr};
};
TORCH_MODULE(Block);

struct Net : torch::nn::Module {
  Net() {
    prompt = register_parameter("prompt", at::ones({1, 2, 1, 1}));
    backbone = register_module("backbone", Block());
    head = register_module("head", Block());
    norm = register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({3})));
  }
  at::Tensor forward(const at::Tensor& x) { return head(backbone(x * prompt)); }
  at::Tensor prompt;
  Block backbone{nullptr}, head{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};

OptimizerOptions options(const std::string& toml) {
  OptimizerOptions bound;
  struct Empty final : config::ComponentCatalog {
    const config::ComponentType* find(const std::string&, const std::string&) const override {
      return nullptr;
    }
    std::string explain_missing(const std::string&, const std::string&) const override {
      return "";
    }
    std::vector<std::string> kinds() const override { return {}; }
    std::vector<std::string> names(const std::string&) const override { return {}; }
  } const catalog;
  config::Binder binder(catalog);
  const config::Document document = config::load_text(toml, "test.toml");
  binder.bind(config::schema_of<OptimizerOptions>(), &bound, document.root);
  config::throw_if_any(binder.problems);
  return bound;
}

/// "lr decay" of every parameter.
std::map<std::string, std::pair<double, double>> settings(const GroupPlan& plan) {
  std::map<std::string, std::pair<double, double>> all;
  for (const ParameterGroup& group : plan.groups) {
    for (const std::string& name : group.names) all[name] = {group.lr, group.weight_decay};
  }
  return all;
}

std::string error_of(const std::string& toml) {
  Net net;
  try {
    plan_groups(parameters_of(net), options(toml), nullptr);
  } catch (const OptionError& error) {
    return error.key() + ": " + error.what();
  }
  return "";
}

TEST(Groups, EqualSettingsShareOne) {
  Net net;
  const GroupPlan plan = plan_groups(parameters_of(net), options("lr = 0.1"), nullptr);
  ASSERT_EQ(plan.groups.size(), 1U);
  EXPECT_EQ(plan.groups[0].names,
            (std::vector<std::string>{"prompt", "backbone.conv.weight", "backbone.conv.bias",
                                      "backbone.bn.weight", "backbone.bn.bias", "head.conv.weight",
                                      "head.conv.bias", "head.bn.weight", "head.bn.bias",
                                      "norm.weight", "norm.bias"}));
}

// lr 0.1 and decay 0.04; head: x10; every bias: x2 and no decay; norms: decay x0.5.
TEST(Groups, RulesAndPresetsMultiply) {
  Net net;
  const GroupPlan plan = plan_groups(parameters_of(net), options(R"(
lr = 0.1
weight_decay = 0.04
norm_decay_mult = 0.5
[paramwise.head]
match = "head"
lr_mult = 10
[paramwise.bias]
match = "**.bias"
lr_mult = 2
decay_mult = 0
)"),
                                     nullptr);
  const std::map<std::string, std::pair<double, double>> expected{
      {"prompt", {0.1, 0.04}},          {"backbone.conv.weight", {0.1, 0.04}},
      {"backbone.conv.bias", {0.2, 0}}, {"backbone.bn.weight", {0.1, 0.02}},
      {"backbone.bn.bias", {0.2, 0}},   {"head.conv.weight", {1.0, 0.04}},
      {"head.conv.bias", {2.0, 0}},     {"head.bn.weight", {1.0, 0.02}},
      {"head.bn.bias", {2.0, 0}},       {"norm.weight", {0.1, 0.02}},
      {"norm.bias", {0.2, 0}}};
  EXPECT_EQ(settings(plan), expected);
  EXPECT_EQ(plan.groups.size(), 6U);
  EXPECT_EQ(plan.table,
            "rules                          tensors  parameters   lr  decay\n"
            "(no rule)                            2           6  0.1   0.04\n"
            "bias                                 1           2  0.2      0\n"
            "norm_decay_mult                      2           5  0.1   0.02\n"
            "bias x norm_decay_mult               2           5  0.2      0\n"
            "head                                 1           4    1   0.04\n"
            "head x bias                          1           2    2      0\n"
            "head x norm_decay_mult               1           2    1   0.02\n"
            "head x bias x norm_decay_mult        1           2    2      0");
}

TEST(Groups, BiasPresetSparesNorms) {
  Net net;
  const auto all = settings(plan_groups(
      parameters_of(net), options("lr = 1\nweight_decay = 1\nbias_decay_mult = 0"), nullptr));
  EXPECT_EQ(all.at("head.conv.bias").second, 0.0);
  EXPECT_EQ(all.at("head.bn.bias").second, 1.0);
}

TEST(Groups, ExclusiveStandsAlone) {
  Net net;
  const auto all = settings(plan_groups(parameters_of(net), options(R"(
lr = 1
weight_decay = 1
norm_decay_mult = 0
[paramwise.head]
match = "head"
lr_mult = 10
[paramwise.bn]
match = "head.bn"
lr_mult = 3
exclusive = true
)"),
                                        nullptr));
  EXPECT_EQ(all.at("head.bn.weight"), std::make_pair(3.0, 1.0));
  EXPECT_EQ(all.at("head.conv.weight"), std::make_pair(10.0, 1.0));
  EXPECT_EQ(all.at("backbone.bn.weight"), std::make_pair(1.0, 0.0));
}

// MMSegmentation: the longest substring alone decides; "head" and "conv" are equally long, and
// "conv" comes first in the alphabet.
TEST(Groups, LongestSubstring) {
  Net net;
  const auto all = settings(plan_groups(parameters_of(net), options(R"(
lr = 1
weight_decay = 1
paramwise_mode = "longest"
norm_decay_mult = 0
[paramwise.head]
match = "head"
lr_mult = 10
[paramwise.conv]
match = "conv"
lr_mult = 3
[paramwise.long]
match = "ead.conv.b"
lr_mult = 7
)"),
                                        nullptr));
  EXPECT_EQ(all.at("head.conv.weight").first, 3.0);
  EXPECT_EQ(all.at("head.conv.bias").first, 7.0);
  EXPECT_EQ(all.at("head.bn.weight"), std::make_pair(10.0, 1.0));
  EXPECT_EQ(all.at("backbone.bn.weight"), std::make_pair(1.0, 0.0));
}

TEST(Groups, APatternMustMatch) {
  EXPECT_EQ(
      error_of("lr = 1\n[paramwise.x]\nmatch = \"haed.**\""),
      "paramwise.x.match: matches no parameter, got \"haed.**\"" + config::glob_hint("haed.**", [] {
        Net net;
        std::vector<std::string> names;
        for (const auto& one : parameters_of(net)) names.push_back(one.name);
        return names;
      }()));
  EXPECT_NE(error_of("lr = 1\n[paramwise.x]\nmatch = \"haed.**\"").find("did you mean \"head"),
            std::string::npos);
  EXPECT_EQ(error_of("lr = 1\n[paramwise.x]\nmatch = \"haed.**\"\noptional = true"), "");
  EXPECT_EQ(
      error_of("lr = 1\nparams = \"discriminator\"").rfind("params.0: matches no parameter", 0),
      0U);
}

TEST(Groups, LayerDecayCountsTheBackbonesLayers) {
  // A ResNet-18 has a stem and eight blocks; a neck or a head would have depth 0.
  struct Whole : torch::nn::Module {
    Whole() {
      backbone = register_module(
          "backbone",
          tests::slot_of<Backbone>("type = \"ResNet\"\ndepth = 18").build({FeatureSpec::image(3)}));
      head = register_module("head", torch::nn::Conv2d(torch::nn::Conv2dOptions(512, 2, 1)));
    }
    std::shared_ptr<Backbone> backbone;
    torch::nn::Conv2d head{nullptr};
  } whole;
  const auto all = settings(plan_groups(parameters_of(whole), options(R"(
lr = 1
weight_decay = 1
layer_decay = 0.5
norm_decay_mult = 0
[paramwise.stem]
match = "backbone.conv1"
lr_mult = 4
)"),
                                        nullptr));
  EXPECT_EQ(all.at("head.weight"), std::make_pair(1.0, 1.0));
  EXPECT_EQ(all.at("backbone.layer4.1.conv2.weight"), std::make_pair(0.5, 1.0));
  EXPECT_EQ(all.at("backbone.layer4.0.downsample.0.weight"), std::make_pair(0.25, 1.0));
  EXPECT_EQ(all.at("backbone.layer1.0.bn1.weight"), std::make_pair(std::pow(0.5, 8), 0.0));
  EXPECT_EQ(all.at("backbone.conv1.weight"), std::make_pair(4 * std::pow(0.5, 9), 1.0));
  EXPECT_EQ(all.at("backbone.bn1.bias"), std::make_pair(std::pow(0.5, 9), 0.0));
  EXPECT_EQ(error_of("lr = 1\nlayer_decay = 0.5"),
            "layer_decay: the model has no backbone that says what its layers are");
}

TEST(Groups, EveryParameterOfEveryBackboneIsInOneLayer) {
  for (const std::string& name : tests::builtin_registry().names(Backbone::kind)) {
    SCOPED_TRACE(name);
    std::string options = "type = \"" + name + "\"\n";
    if (name.starts_with("Res")) options += "depth = 50";
    if (name == "SideFusionCLIP") {
      options +=
          "clip = {type = \"ResNet\", depth = 18}\nrs_backbone = {type = \"ResNet\", depth = 18}\n"
          "bridge = {type = \"dot\"}\nfreeze_clip = false";
    }
    const auto backbone = tests::slot_of<Backbone>(options).build({FeatureSpec::image(3)});
    const Backbone::Layers layers = backbone->layers();
    EXPECT_GT(layers.size(), 8U);
    std::int64_t before = static_cast<std::int64_t>(layers.size()) + 1;
    for (const ModelParameter& parameter : parameters_of(*backbone)) {
      int places = 0;
      for (const auto& layer : layers) {
        for (const std::string& part : layer) places += config::glob_match(part, parameter.name);
      }
      EXPECT_EQ(places, 1) << parameter.name;
      EXPECT_GE(parameter.depth, 1) << parameter.name;
      before = std::min(before, parameter.depth);
    }
    EXPECT_EQ(before, 1) << "the last layer has no parameters";
    EXPECT_EQ(parameters_of(*backbone).front().depth, static_cast<std::int64_t>(layers.size()));
  }
}

// Goyal et al. 2017: the rate grows with the batch.
TEST(Groups, TheRateGrowsWithTheBatchIfAskedFor) {
  Net net;
  const auto rate = [&](const std::string& toml, std::int64_t samples) {
    return plan_groups(parameters_of(net), options(toml), nullptr, samples);
  };
  const GroupPlan plan = rate("lr = 0.01\nbase_batch_size = 16", 40);
  EXPECT_DOUBLE_EQ(plan.lr, 0.025);
  EXPECT_DOUBLE_EQ(plan.groups.at(0).lr, 0.025);
  EXPECT_DOUBLE_EQ(rate("lr = 0.01", 40).groups.at(0).lr, 0.01);
  EXPECT_DOUBLE_EQ(rate("lr = 0.01\nbase_batch_size = 16", 0).groups.at(0).lr, 0.01);
}

TEST(Groups, ParamsSelects) {
  Net net;
  const GroupPlan plan = plan_groups(
      parameters_of(net), options("lr = 1\nparams = [\"norm\", \"head.conv.*\"]"), nullptr);
  EXPECT_EQ(plan.groups.at(0).names, (std::vector<std::string>{"head.conv.weight", "head.conv.bias",
                                                               "norm.weight", "norm.bias"}));
}

TEST(Groups, FrozenParametersAreLeftOut) {
  Net net;
  const Freezer freezer({{"backbone", {}, false}, {"head", 5, false}}, net);
  const GroupPlan plan = plan_groups(parameters_of(net), options("lr = 1"), &freezer);
  EXPECT_EQ(plan.groups.at(0).names.size(), 7U);
  EXPECT_EQ(plan.table,
            "rules              tensors  parameters  lr  decay\n"
            "(no rule)                3           8   1      0\n"
            "(no rule) (thaws)        4          10   1      0\n"
            "(frozen)                 4          10   -      -");
  const Freezer all({{"**", {}, false}}, net);
  EXPECT_THROW(plan_groups(parameters_of(net), options("lr = 1"), &all), OptionError);
}

TEST(Freeze, WhatTheModelMadeConstantStaysSo) {
  Net net;
  net.prompt.set_requires_grad(false);
  Freezer freezer({{"head", 3, false}}, net);
  freezer.apply(0);
  freezer.apply(3);
  EXPECT_FALSE(net.prompt.requires_grad());
  EXPECT_TRUE(net.head->conv->weight.requires_grad());
  const GroupPlan plan = plan_groups(parameters_of(net), options("lr = 1"), &freezer);
  EXPECT_EQ(settings(plan).count("prompt"), 0U);
  EXPECT_EQ(settings(plan).size(), 10U);
}

TEST(Parameters, SharedOnesCountOnce) {
  struct Tied : torch::nn::Module {
    Tied() {
      const at::Tensor weight = at::ones({2});
      register_parameter("a", weight);
      register_parameter("b", this->parameters()[0]);
    }
  } net;
  EXPECT_EQ(parameters_of(net).size(), 1U);
}

TEST(Freeze, GradientsGoThroughAFrozenPart) {
  Net net;
  Freezer freezer({{"backbone.**", {}, false}}, net);
  freezer.apply(0);
  net.train();
  freezer.fix_modes(0);
  net.forward(at::ones({1, 2, 3, 3})).sum().backward();
  EXPECT_TRUE(net.prompt.grad().defined());
  EXPECT_NE(net.prompt.grad().abs().sum().item<double>(), 0.0);
  EXPECT_FALSE(net.backbone->conv->weight.grad().defined());
  EXPECT_TRUE(net.head->conv->weight.grad().defined());
}

TEST(Freeze, StatisticsAndDropoutStandStillWhateverTrainSays) {
  Net net;
  Freezer freezer({{"backbone", 3, false}}, net);
  const at::Tensor mean = net.backbone->bn->running_mean.clone();
  const at::Tensor count = net.backbone->bn->num_batches_tracked.clone();
  for (std::int64_t step = 0; step < 3; ++step) {
    freezer.apply(step);
    net.train();
    freezer.fix_modes(step);
    EXPECT_FALSE(net.backbone->is_training());
    EXPECT_FALSE(net.backbone->drop->is_training());
    EXPECT_TRUE(net.head->drop->is_training());
    net.forward(at::randn({4, 2, 3, 3}));
    EXPECT_TRUE(at::equal(net.backbone->bn->running_mean, mean));
    EXPECT_TRUE(at::equal(net.backbone->bn->num_batches_tracked, count));
  }
  EXPECT_TRUE(freezer.apply(3));
  EXPECT_FALSE(freezer.apply(3));
  net.train();
  freezer.fix_modes(3);
  EXPECT_TRUE(net.backbone->bn->is_training());
  EXPECT_TRUE(net.backbone->conv->weight.requires_grad());
  net.forward(at::randn({4, 2, 3, 3}));
  EXPECT_FALSE(at::equal(net.backbone->bn->running_mean, mean));
}

// A module counts as frozen when all that it has to train is.
TEST(Freeze, ParametersFreezeTheirModule) {
  Net net;
  const Freezer half({{"backbone.bn.weight", {}, false}}, net);
  const auto trains = [&](Freezer freezer) {
    net.train();
    freezer.fix_modes(0);
    return net.backbone->bn->is_training();
  };
  EXPECT_TRUE(trains(half));
  EXPECT_FALSE(trains(Freezer({{"backbone.bn.*", {}, false}}, net)));
  EXPECT_FALSE(trains(Freezer({{"**.bn", {}, false}}, net)));
}

TEST(Freeze, APatternMustMatch) {
  Net net;
  try {
    Freezer freezer({{"head", {}, false}, {"bakbone.**", {}, false}}, net);
    FAIL();
  } catch (const OptionError& error) {
    EXPECT_EQ(error.key(), "1");
    EXPECT_EQ(
        std::string(error.what())
            .rfind(
                "matches no parameter and no module, got \"bakbone.**\"; did you mean \"backbone",
                0),
        0U)
        << error.what();
  }
  EXPECT_NO_THROW(Freezer({{"bakbone.**", {}, true}}, net));
}

}  // namespace
}  // namespace strata::optim
