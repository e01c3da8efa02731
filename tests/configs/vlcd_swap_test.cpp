// VLCD's parts exchanged by --set alone, from the shipped configs of both its forms with towers of
// the same make but narrow: every exchange trains and predicts, every wrong key of what was put in
// is refused, every right one has an effect, and what is frozen stays as it is.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>

#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "framework/engine/session.hpp"
#include "framework/io/weights.hpp"
#include "tests/configs/shrunk.hpp"
#include "tests/configs/step.hpp"
#include "tests/support/build.hpp"
#include "tests/support/message.hpp"

namespace strata::vlcd_swap {
namespace {

using Sets = std::vector<std::string>;

const std::string kResNets = STRATA_SOURCE_DIR "/configs/vlcd/vlcd_r50_levir.toml";
const std::string kTransformers = STRATA_SOURCE_DIR "/configs/vlcd/vlcd_vit-b16_levir.toml";
const std::string kDfc = R"([{type = "DFC", fpn = {out_channels = 32}}])";

Registry& builtins() {
  static Registry* registry = [] {
    auto* made = new Registry;
    register_builtin_components(*made);
    return made;
  }();
  return *registry;
}

/// Narrow towers, and what comes behind them as narrow; then `sets` as a user gives them. What
/// these put another part in for is not narrowed first: of two overrides that contradict, neither
/// wins.
Experiment load(const std::string& path, const Sets& sets) {
  Sets all = tests::shrunk(path);
  for (const char* each : {"model.context_decoder.width=16", "model.context_decoder.heads=2",
                           "model.context_decoder.layers=1", "model.neck.0.out_channels=32",
                           "model.neck.1.out_channels=32", "model.decode_head.channels=32",
                           "model.decode_head.norm.groups=4"}) {
    all.emplace_back(each);
  }
  if (path == kResNets) all.emplace_back("model.neck.0.reduce_to=16");
  for (const std::string& set : sets) {
    const std::string replaced = set.substr(0, set.find('=')) + ".";
    if (set.find("type") == std::string::npos) continue;
    std::erase_if(all, [&](const std::string& each) { return each.starts_with(replaced); });
  }
  all.insert(all.end(), sets.begin(), sets.end());
  return load_experiment(path, all, builtins());
}

Batch tagged_batch(const Segmentor& model, const Experiment& experiment) {
  Batch batch = tests::batch_for(model, experiment, 64);
  batch.meta.resize(2);
  for (auto& meta : batch.meta) meta.tags = {{"road", "lake", "forest"}, {"road"}};
  return batch;
}

at::Tensor logits_of(Segmentor& model, const Batch& batch) {
  const at::NoGradGuard no_grad;
  model.eval();
  return model.predict(batch).front().second.data;
}

// -------------------------------------------------------------------------------- every exchange

struct Choice {
  std::string name;
  Sets sets;
};

const std::vector<Choice>& sides() {
  static const std::vector<Choice> all = {
      {"ResNet",
       {R"(model.backbone.rs_backbone={type = "ResNet", depth = 18, base_channels = 8})"}},
      {"Swin",
       {R"(model.backbone.rs_backbone={type = "SwinTransformer", embed_dims = 16, depths = [1, 2, 1, 1], num_heads = [1, 2, 2, 4]})"}},
      {"DeiT",
       {R"(model.backbone.rs_backbone={type = "VisionTransformer", embed_dim = 32, depth = 4, num_heads = 2, img_size = 64})"}},
      {"HRNet", {R"(model.backbone.rs_backbone={type = "HRNet", variant = "w18_small"})"}},
      {"EfficientNet", {R"(model.backbone.rs_backbone={type = "EfficientNet", variant = "b0"})"}}};
  return all;
}

const std::vector<Choice>& bridges() {
  static const std::vector<Choice> all = {
      {"dot", {R"(model.backbone.bridge={type = "BridgingModule"})"}},
      {"mha", {R"(model.backbone.bridge={type = "ViTBridgingModule"})"}},
      {"ban", {R"(model.backbone.bridge={type = "BridgeLayer"})"}}};
  return all;
}

const std::vector<Choice>& necks() {
  static const std::vector<Choice> all = {
      {"CFC", {R"(model.neck.0={type = "CFC", out_channels = 32})"}},
      {"CFCreduced", {R"(model.neck.0={type = "CFC", out_channels = 32, reduce_to = 16})"}},
      {"SimpleCFC",
       {R"(model.neck=[{type = "SimpleCFC", out_channels = 32}, {type = "FPN", out_channels = 32}])"}},
      {"DFC", {"model.neck=" + kDfc}}};
  return all;
}

// Learned vectors on and off, shared and of each class, in each place; tags on and off.
const std::vector<Choice>& prompts() {
  static const std::vector<Choice> all = {
      {"16", {"model.prompt.n_ctx=16"}},
      {"none", {"model.prompt.n_ctx=0"}},
      {"csc", {"model.prompt.csc=true", "model.prompt.position=middle"}},
      {"noTags", {"model.prompt.tagged=[]", "model.prompt.position=front"}},
      {"nothing", {"model.prompt.n_ctx=0", "model.prompt.tagged=[]"}},
      {"noTexts", {"model.use_text=false", "model.prompt.n_ctx=0"}}};
  return all;
}

struct Exchange {
  std::string config;
  std::string name;
  Sets sets;
  bool reads_tags = true;
};

// Every side network with every bridge on both forms; necks and prompts in turn, so that each meets
// each side and each bridge.
std::vector<Exchange> exchanges() {
  std::vector<Exchange> all;
  for (const std::string& config : {kResNets, kTransformers}) {
    const std::size_t form = config == kResNets ? 0 : 1;
    for (std::size_t s = 0; s < sides().size(); ++s) {
      for (std::size_t b = 0; b < bridges().size(); ++b) {
        const Choice& neck = necks()[(s + b + 2 * form) % necks().size()];
        const bool needs_texts = neck.name.starts_with("CFC");
        const std::size_t turn = (s + b + 3 * form + 3) % prompts().size();
        const Choice& prompt = prompts()[needs_texts && turn + 1 == prompts().size() ? 0 : turn];
        Exchange exchange{config, form == 0 ? "RN_" : "ViT_", {}, true};
        for (const Choice* choice : {&sides()[s], &bridges()[b], &neck, &prompt}) {
          exchange.name += choice->name + (choice == &prompt ? "" : "_");
          exchange.sets.insert(exchange.sets.end(), choice->sets.begin(), choice->sets.end());
        }
        exchange.reads_tags = prompt.name == "16" || prompt.name == "none" || prompt.name == "csc";
        all.push_back(exchange);
      }
    }
  }
  return all;
}

class VlcdExchange : public testing::TestWithParam<Exchange> {};

TEST_P(VlcdExchange, TrainsAndPredicts) {
  const Experiment experiment = load(GetParam().config, GetParam().sets);
  EXPECT_TRUE(experiment.document.warnings.empty());
  const auto model = experiment.build_model();
  // The optimizer's rules find their parameters, and every parameter that may learn is in a group.
  const auto plans = engine::plan_trainers(experiment, *model, nullptr);
  std::set<std::string> learning, grouped;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad()) learning.insert(item.key());
  }
  for (const auto& group : plans.front().second.groups) {
    grouped.insert(group.names.begin(), group.names.end());
  }
  EXPECT_EQ(learning, grouped);
  Batch batch = tagged_batch(*model, experiment);
  tests::step(*model, batch, /*all_used=*/true);
  const at::Tensor with = logits_of(*model, batch);
  batch.meta.clear();
  EXPECT_EQ(at::equal(logits_of(*model, batch), with), !GetParam().reads_tags);
}

INSTANTIATE_TEST_SUITE_P(Forms, VlcdExchange, testing::ValuesIn(exchanges()),
                         [](const auto& test) { return test.param.name; });

TEST(VlcdExchanges, MeetEachOther) {
  std::set<std::string> pairs;
  for (const Exchange& exchange : exchanges()) {
    std::vector<std::string> parts;
    std::istringstream stream(exchange.name);
    for (std::string part; std::getline(stream, part, '_');) parts.push_back(part);
    ASSERT_EQ(parts.size(), 5U);
    for (std::size_t i = 0; i < 5; ++i) {
      for (std::size_t k = i + 1; k < 5; ++k) pairs.insert(parts[i] + " " + parts[k]);
    }
  }
  for (const Choice& side : sides()) {
    for (const Choice& bridge : bridges()) {
      EXPECT_TRUE(pairs.contains("RN " + side.name) && pairs.contains("ViT " + side.name));
      EXPECT_TRUE(pairs.contains(side.name + " " + bridge.name));
      for (const Choice& neck : necks()) {
        EXPECT_TRUE(pairs.contains(side.name + " " + neck.name)) << side.name << neck.name;
        EXPECT_TRUE(pairs.contains(bridge.name + " " + neck.name)) << bridge.name << neck.name;
      }
      for (const Choice& prompt : prompts()) {
        EXPECT_TRUE(pairs.contains(bridge.name + " " + prompt.name)) << bridge.name << prompt.name;
        EXPECT_TRUE(pairs.contains(side.name + " " + prompt.name)) << side.name << prompt.name;
      }
    }
  }
}

// --------------------------------------------------------------------------------- wrong keys

std::string refusal(const Sets& sets) {
  return tests::message_of([&] { load(kResNets, sets); });
}

void expect_refused(const Sets& sets, const std::string& wrong, const std::string& text) {
  Sets all = sets;
  all.push_back(wrong);
  EXPECT_NE(refusal(all).find(text), std::string::npos) << wrong << ": " << refusal(all);
}

// What was put in is checked as what the file had: unknown keys, values of another type, and keys
// of the part that it took the place of.
TEST(VlcdExchanges, RefuseWrongKeysOfWhatWasPutIn) {
  struct Part {
    std::string path, kind;
    const std::vector<Choice>& choices;
  };
  for (const Part& part : {Part{"model.backbone.rs_backbone", "backbone", sides()},
                           Part{"model.backbone.bridge", "bridge", bridges()},
                           Part{"model.neck.0", "neck", necks()}}) {
    for (const Choice& choice : part.choices) {
      SCOPED_TRACE(part.path + " " + choice.name);
      expect_refused(choice.sets, part.path + ".no_such_key=1",
                     part.path + ".no_such_key: unknown key");
      const Experiment experiment = load(kResNets, choice.sets);
      const config::Value whole =
          config::dump_object(config::schema_of<Experiment>(), &experiment, /*full=*/false);
      const config::Schema& schema =
          *builtins().find(part.kind, *whole.at(part.path + ".type")->as_string())->schema;
      // An array of an array is what no key of these takes.
      for (const config::Field& field : schema.fields) {
        const std::string key = part.path + "." + field.key;
        expect_refused(choice.sets, key + "=[[true]]", key);
        if (field.type.kind == config::TypeInfo::Kind::table) {
          expect_refused(choice.sets, key + ".no_such_key=1", key + ".no_such_key: unknown key");
        }
      }
    }
  }
  for (const char* key : {"n_ctx", "csc", "position", "tagged", "max_tags", "texts", "ctx_init",
                          "init", "init_std"}) {
    expect_refused({}, std::string("model.prompt.") + key + "=[[true]]",
                   std::string("model.prompt.") + key);
  }
  expect_refused({}, "model.prompt.no_such_key=1", "model.prompt.no_such_key: unknown key");
  expect_refused({}, "model.prompt.position=behind", "model.prompt.position: must be one of");
  expect_refused(bridges()[2].sets, "model.backbone.bridge.alpha=0.1",
                 "model.backbone.bridge.alpha: unknown key");
  expect_refused(necks()[2].sets, "model.neck.0.text_dim=32", "model.neck.0.text_dim: unknown key");
  expect_refused(necks()[3].sets, "model.neck.0.reduce_to=16",
                 "model.neck.0.reduce_to: unknown key");
  expect_refused(sides()[1].sets, "model.backbone.rs_backbone.base_channels=8",
                 "model.backbone.rs_backbone.base_channels: unknown key");
}

// ----------------------------------------------------------------------------- every key counts

/// All that a model is: its parameters, how they begin, what it computes and how it learns.
std::string portrait(const Sets& sets) {
  const Experiment experiment = load(kResNets, sets);
  at::manual_seed(1);
  const auto model = experiment.build_model();
  std::string text;
  const auto add = [&](const std::string& name, const at::Tensor& value) {
    text += fmt::format("{} [{}] {:.17g}\n", name, fmt::join(value.sizes(), " "),
                        value.to(at::kDouble).abs().sum().item<double>());
  };
  for (const auto& item : model->named_parameters()) {
    add(item.key() + (item.value().requires_grad() ? "" : " (constant)"), item.value());
  }
  const Batch batch = tagged_batch(*model, experiment);
  add("logits", logits_of(*model, batch));
  model->train();
  at::manual_seed(2);
  TrainContext context;
  add("loss", model->train_step(batch, context).total().detach());
  add("logits behind a step", logits_of(*model, batch));
  return text;
}

// A key of each part with another value than it has: the model must be another one. Or, where it
// repeats what is derived, a value that is not so is refused ("!").
TEST(VlcdExchanges, NoKeyIsIgnored) {
  using Trials = std::map<std::string, std::string>;
  const Trials change = {{"in_channels", "!32, 64, 128, 512"},
                         {"out_channels", "48"},
                         {"reduce_to", "24"},
                         {"norm", "{type = \"GN\", groups = 4}"}};
  Trials cfc = change;
  cfc["text_dim"] = "!16";
  struct Part {
    std::string kind, type, path;
    Sets sets;
    Trials trials;
  };
  const std::string bridge = "model.backbone.bridge", neck = "model.neck.0";
  const std::vector<Part> parts = {
      {"bridge",
       "BridgingModule",
       bridge,
       bridges()[0].sets,
       {{"layer_norm", "false"}, {"scale_attn", "false"}, {"alpha", "0.1"}}},
      {"bridge",
       "ViTBridgingModule",
       bridge,
       bridges()[1].sets,
       {{"heads", "4"},
        {"width", "16"},
        {"layer_norm", "false"},
        {"scale_attn", "false"},
        {"alpha", "0.1"}}},
      {"bridge", "BridgeLayer", bridge, bridges()[2].sets, {{"heads", "2"}, {"hidden", "8"}}},
      {"neck", "CFC", neck, necks()[0].sets, cfc},
      {"neck", "SimpleCFC", neck, necks()[2].sets, change},
      {"neck",
       "DFC",
       neck,
       necks()[3].sets,
       {{"in_channels", "!32, 64, 128, 512"}, {"fpn", "{out_channels = 48}"}, {"ratio", "4"}}},
      {"backbone",
       "SideFusionCLIP",
       "model.backbone",
       {},
       {{"clip", "{width = 16}"},
        {"rs_backbone", "{base_channels = 16}"},
        {"bridge", "{alpha = 0.2}"},
        {"freeze_clip", "false"},
        {"clip_norm", "false"},
        {"autocast", "fp16"}}},
      {"segmentor",
       "VLCD",
       "model",
       {},
       {{"preprocessor", "{mean = [0, 0, 0]}"},
        {"backbone", "{clip_norm = false}"},
        {"neck", kDfc},
        {"decode_head", "{dropout = 0.5}"},
        {"auxiliary_head", "{type = \"FCNHead\", channels = 16}"},
        {"joint_loss", "!{type = \"SemanticConsistencyLoss\"}"},
        {"predict", "!nothing"},
        {"text_encoder", "{transformer_layers = 2}"},
        {"context_decoder", "{layers = 2}"},
        {"prompt", "{n_ctx = 4}"},
        {"use_text", "!false"},
        {"text_dim", "!16"},
        {"freeze_text", "false"},
        {"gamma_init", "0.5"},
        {"score_concat_index", "1"},
        {"dates", "joint"},
        {"num_dates", "!1"}}}};
  std::map<std::string, std::string> base;
  for (const Part& part : parts) {
    std::string own;
    for (const std::string& set : part.sets) own += set + "\n";
    if (!base.contains(own)) base[own] = portrait(part.sets);
    const config::Schema& schema = *builtins().find(part.kind, part.type)->schema;
    for (const config::Field& field : schema.fields) {
      SCOPED_TRACE(part.type + "." + field.key);
      const auto trial = part.trials.find(field.key);
      ASSERT_NE(trial, part.trials.end()) << "a new key needs a trial here";
      const bool refused = trial->second.starts_with('!');
      std::string value = trial->second.substr(refused ? 1 : 0);
      if (value.find(',') != std::string::npos && refused) value = "[" + value + "]";
      Sets sets = part.sets;
      sets.push_back(part.path + "." + field.key + "=" + value);
      if (refused) {
        EXPECT_NE(refusal(sets), "no error");
      } else {
        EXPECT_NE(portrait(sets), base[own]);
      }
    }
  }
  EXPECT_EQ(portrait({}), base[""]) << "the same model twice must look the same";
  const Trials prompt = {{"texts", R"(["land", "a house"])"},
                         {"tagged", "[0, 1]"},
                         {"max_tags", "1"},
                         {"n_ctx", "4"},
                         {"ctx_init", "a photo of"},
                         {"init", "trunc_normal"},
                         {"init_std", "0.5"},
                         {"csc", "true"},
                         {"position", "middle"}};
  std::set<std::string> different = {base[""]};
  for (const auto& [key, value] : prompt) {
    Sets sets = {"model.prompt." + key + "=" + value};
    if (key == "ctx_init") sets.emplace_back("model.prompt.n_ctx._delete_=true");
    EXPECT_TRUE(different.insert(portrait(sets)).second) << key;
  }
}

// --------------------------------------------------------------------------------- what is frozen

// Line 5 of the list of what must hold: three steps of an optimizer over real towers.
TEST(VlcdFreezing, HoldsThroughStepsOfBothForms) {
  for (const std::string& config : {kResNets, kTransformers}) {
    SCOPED_TRACE(config);
    const Experiment experiment = load(config, {"optimizer.lr=1e-2"});
    const auto model = experiment.build_model();
    const auto trainers = engine::build_trainers(experiment, *model, nullptr, /*steps=*/3);
    std::map<std::string, at::Tensor> before;
    for (const auto& [name, tensor] : io::state_of(*model)) before[name] = tensor.clone();
    const Batch batch = tagged_batch(*model, experiment);
    TrainContext context;
    for (int step = 0; step < 3; ++step) {
      model->train();
      trainers.front().optimizer->zero_grad();
      model->train_step(batch, context);
      for (const auto& trainer : trainers) trainer.optimizer->step(1.0);
    }
    const auto parameters = model->named_parameters();
    int frozen = 0, moved = 0;
    for (const auto& [name, tensor] : io::state_of(*model)) {
      const bool pyramid = name.starts_with("backbone.clip.fpn");
      const bool of_clip =
          (name.starts_with("backbone.clip.") && !pyramid) || name.starts_with("text_encoder.");
      const at::Tensor* parameter = parameters.find(name);
      if (of_clip) {
        ++frozen;  // parameters, and the running statistics of batch norms
        EXPECT_TRUE(at::equal(tensor, before[name])) << name;
        if (parameter != nullptr) {
          EXPECT_FALSE(parameter->requires_grad()) << name;
          EXPECT_FALSE(parameter->grad().defined()) << name;
        }
      } else if (parameter != nullptr) {
        EXPECT_EQ(parameter->grad().defined(), parameter->requires_grad()) << name;
        moved += !at::equal(tensor, before[name]);
      } else if (name.find("running_mean") != std::string::npos) {
        EXPECT_FALSE(at::equal(tensor, before[name])) << name;
      }
    }
    EXPECT_GT(frozen, 40);
    EXPECT_GT(moved, 100);
    for (const char* name : {"learnable_prompt.ctx", "gamma"}) {
      EXPECT_GT(parameters[name].grad().abs().sum().item<double>(), 0) << name;
      EXPECT_FALSE(at::equal(parameters[name], before[name])) << name;
    }
    for (const auto& item : model->named_modules()) {
      const bool norm = item.value()->as<torch::nn::BatchNorm2dImpl>() != nullptr;
      if (norm && item.key().starts_with("backbone.clip.")) {
        EXPECT_EQ(item.value()->is_training(), item.key().starts_with("backbone.clip.fpn"))
            << item.key();
      }
    }
  }
}

}  // namespace
}  // namespace strata::vlcd_swap
