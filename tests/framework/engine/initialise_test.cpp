// [init]: whole models and parts, from other layouts, with other classes and other channels.
#include "framework/engine/initialise.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "framework/base/error.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/io/download.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "registry/builtin.hpp"
#include "tests/support/http_server.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::engine {
namespace {

using tests::TempDir;

class Initialise : public testing::Test {
 protected:
  static constexpr const char* kResNet = "{type = \"ResNet\", depth = 18, base_channels = 8}";

  void SetUp() override { register_builtin_components(registry_); }

  Experiment experiment(const std::string& init, const std::string& backbone = kResNet,
                        const std::string& more = "") {
    return bind_experiment(
        config::load_text(more +
                              "[data.labels.land]\nclasses = [\"field\", \"water\", \"road\"]\n"
                              "[model]\ntype = \"EncoderDecoder\"\nbackbone = " +
                              backbone + "\ndecode_head = {type = \"FCNHead\", channels = 8}\n" +
                              init,
                          "test.toml", {}, dir_.path()),
        "test", registry_);
  }
  /// A model of the plain config, every tensor of it random.
  TensorMap weights(const std::string& backbone = kResNet) {
    auto model = experiment("", backbone).build_model();
    at::NoGradGuard no_grad;
    TensorMap state;
    for (const auto& [name, tensor] : io::state_of(*model)) {
      state.emplace_back(name, at::rand(tensor.sizes()).mul(9).to(tensor.scalar_type()));
    }
    return state;
  }
  static TensorMap part(const TensorMap& state, const std::string& name,
                        const std::string& lead = "") {
    TensorMap own;
    for (const auto& [key, tensor] : state) {
      if (key.starts_with(name + ".")) own.emplace_back(lead + key.substr(name.size() + 1), tensor);
    }
    return own;
  }
  std::string init(const std::string& keys) { return "[init]\nfrom = \"w.pth\"\n" + keys + "\n"; }
  void save(const TensorMap& tensors) { io::write_tensors(dir_ / "w.pth", tensors); }
  /// The state after [init]; `before`: as it was freshly made.
  TensorMap loaded(const Experiment& experiment, TensorMap* before = nullptr) {
    auto model = experiment.build_model();
    if (before != nullptr) {
      for (const auto& [name, tensor] : io::state_of(*model)) {
        before->emplace_back(name, tensor.detach().clone());
      }
    }
    initialise(experiment, *model);
    return io::state_of(*model);
  }
  std::string message(const Experiment& experiment) {
    try {
      loaded(experiment);
    } catch (const UserError& error) {
      std::string text = error.what();
      for (auto at = text.find(dir_.path()); at != std::string::npos; at = text.find(dir_.path())) {
        text.erase(at, dir_.path().size() + 1);
      }
      return text;
    }
    return "loaded";
  }
  static void expect_same(const TensorMap& state, const TensorMap& want, const std::string& under) {
    std::size_t compared = 0;
    for (const auto& [name, tensor] : want) {
      if (!name.starts_with(under)) continue;
      EXPECT_TRUE(at::equal(get(state, name), tensor)) << name;
      ++compared;
    }
    EXPECT_GT(compared, 0u);
  }

  TempDir dir_;
  Registry registry_;
};

TEST_F(Initialise, AWholeModelFromATorchFile) {
  const TensorMap state = weights();
  save(state);
  expect_same(loaded(experiment(init(""))), state, "");
}

TEST_F(Initialise, ABackboneOfTorchvisionWithoutItsClassifier) {
  const TensorMap state = weights();
  TensorMap file = part(state, "backbone");
  file.emplace_back("fc.weight", at::zeros({10, 4}));
  file.emplace_back("fc.bias", at::zeros({10}));
  save(file);
  TensorMap fresh;
  const TensorMap now = loaded(experiment(init("part = \"backbone\"")), &fresh);
  expect_same(now, state, "backbone.");
  expect_same(now, fresh, "decode_head.");
  // Under our own names alone the classifier is too much.
  EXPECT_EQ(message(experiment(init("part = \"backbone\"\nkey_map = \"native\""))),
            "w.pth: the weights do not fit the model: 120 tensors match\n"
            "  2 unexpected in the file:\n    backbone.fc.weight\n    backbone.fc.bias");
}

TEST_F(Initialise, ABackboneOfAWholeCheckpoint) {
  const TensorMap state = weights();
  save(state);
  expect_same(loaded(experiment(init("part = \"backbone\""))), state, "backbone.");
  expect_same(loaded(experiment(init("part = \"decode_head\""))), state, "decode_head.");
  // mmseg's own words for it.
  expect_same(loaded(experiment(init("part = \"backbone\"\nprefix = \"backbone\""))), state,
              "backbone.");
}

TEST_F(Initialise, AnEncoderOfAnotherLibraryIsFoundByItsNames) {
  const char* efficientnet = "{type = \"EfficientNet\", variant = \"b0\"}";
  const TensorMap state = weights(efficientnet);
  TensorMap file = io::rename(part(state, "backbone"),
                              io::inverse(backbones::key_rules("timm.efficientnet_b0")));
  for (auto& [name, tensor] : file) name = "net.encoder." + name;
  file.emplace_back("net.encoder.classifier.weight", at::zeros({2, 2}));
  file.emplace_back("net.decoder.weight", at::zeros({2}));
  save(file);
  expect_same(loaded(experiment(init("part = \"backbone\""), efficientnet)), state, "backbone.");
  EXPECT_NE(message(experiment(init("part = \"backbone\"\nkey_map = \"timm.hrnet\""), efficientnet))
                .find("unexpected in the file"),
            std::string::npos);
}

TEST_F(Initialise, OtherClasses) {
  TensorMap state = weights();
  for (auto& [name, tensor] : state) {
    if (name == "decode_head.conv_seg.weight") tensor = at::zeros({19, 8, 1, 1});
    if (name == "decode_head.conv_seg.bias") tensor = at::zeros({19});
  }
  save(state);
  EXPECT_EQ(
      message(experiment(init(""))),
      "w.pth: the weights do not fit the model: " + std::to_string(state.size() - 2) +
          " tensors match\n"
          "  2 of another shape:\n"
          "    decode_head.conv_seg.weight: file [19, 8, 1, 1], model [3, 8, 1, 1]\n"
          "    decode_head.conv_seg.bias: file [19], model [3]\n"
          "for other classes leave them as they are: init.reinit = [\"decode_head.conv_seg\"]");
  TensorMap fresh;
  const TensorMap now = loaded(experiment(init("reinit = [\"decode_head.conv_seg\"]")), &fresh);
  expect_same(now, state, "backbone.");
  expect_same(now, state, "decode_head.convs");
  expect_same(now, fresh, "decode_head.conv_seg");
}

TEST_F(Initialise, OtherChannels) {
  const TensorMap state = weights();
  save(state);
  const std::string four = "data.channels = 4\n";
  const std::string plain = message(experiment(init("part = \"backbone\""), kResNet, four));
  EXPECT_NE(plain.find("for another number of channels: init.adapt_input = true"),
            std::string::npos)
      << plain;
  const std::string first = "backbone.conv1.weight";
  const at::Tensor weight = get(state, first);
  TensorMap now =
      loaded(experiment(init("part = \"backbone\"\nadapt_input = true"), kResNet, four));
  // Repeated and scaled: a grey image gives what it gave.
  EXPECT_TRUE(at::allclose(get(now, first).select(1, 3), weight.select(1, 0) * 0.75));
  EXPECT_TRUE(at::allclose(get(now, first).select(1, 1), weight.select(1, 1) * 0.75));
  now = loaded(
      experiment(init("part = \"backbone\"\nadapt_input = true"), kResNet, "data.channels = 1\n"));
  EXPECT_TRUE(at::allclose(get(now, first), weight.sum(1, true)));
  EXPECT_TRUE(at::equal(get(now, "backbone.layer1.0.conv1.weight"),
                        get(state, "backbone.layer1.0.conv1.weight")));
}

TEST_F(Initialise, SaysThatWeightsAreOfAPart) {
  save(part(weights(), "backbone"));
  const std::string text = message(experiment(init("")));
  EXPECT_TRUE(text.ends_with("\n120 of 120 names are those of backbone: init.part = \"backbone\""))
      << text;
}

TEST_F(Initialise, SaysThatAPartIsAnotherNetworkNow) {
  save(weights());
  const std::string text =
      message(experiment(init("part = \"backbone\""), "{type = \"EfficientNet\"}"));
  EXPECT_TRUE(text.ends_with("\nif backbone is another network now: init.from = the weights of that, "
                             "or without: init._delete_ = true"))
      << text;
}

TEST_F(Initialise, SeveralParts) {
  const TensorMap state = weights();
  save(part(state, "backbone"));
  io::write_tensors(dir_ / "head.safetensors", part(state, "decode_head", "model.head."));
  const TensorMap now =
      loaded(experiment("[init.body]\nfrom = \"w.pth\"\npart = \"backbone\"\n"
                        "[init.head]\nfrom = \"head.safetensors\"\npart = \"decode_head\"\n"));
  expect_same(now, state, "");
}

TEST_F(Initialise, PretrainedWeightsByName) {
  const char* efficientnet = "{type = \"EfficientNet\", variant = \"b0\"}";
  const TensorMap state = weights(efficientnet);
  TensorMap file = io::rename(part(state, "backbone"),
                              io::inverse(backbones::key_rules("timm.efficientnet_b0")));
  file.emplace_back("classifier.weight", at::zeros({2, 2}));
  io::write_tensors(dir_ / "model.safetensors", file);
  const tests::HttpServer server([&](const tests::HttpRequest& request) {
    if (request.path != "/timm/efficientnet_b0.ra_in1k/resolve/main/model.safetensors") {
      return tests::HttpReply{404};
    }
    return tests::file_reply(request, tests::file_content(dir_ / "model.safetensors"));
  });
  ::setenv("no_proxy", "127.0.0.1", 1);
  ::setenv("HF_ENDPOINT", server.url().c_str(), 1);
  ::setenv("HF_HUB_CACHE", dir_.path().c_str(), 1);
  ::setenv("STRATA_CACHE", dir_.path().c_str(), 1);
  ::unsetenv("HF_HUB_OFFLINE");

  const std::string from = "timm:efficientnet_b0.ra_in1k";
  const std::string keys = "[init]\nfrom = \"" + from + "\"\npart = \"backbone\"\n";
  const Experiment plain = experiment(keys, efficientnet);
  const config::Value* dumped = plain.document.root.at("init.from");
  ASSERT_NE(dumped, nullptr);
  EXPECT_EQ(*dumped->as_string(), from);
  EXPECT_EQ(
      *config::Codec<WeightsSource>::dump(plain.init.sets.at(0).second.from, true).as_string(),
      from);
  EXPECT_TRUE(server.seen().empty());  // reading a config fetches nothing
  fetch_init(plain);
  const auto requests = server.seen().size();
  EXPECT_EQ(requests, 2u);
  expect_same(loaded(plain), state, "backbone.");
  EXPECT_EQ(weights_of(from),
            dir_ / "weights/hub/timm/efficientnet_b0.ra_in1k/main/model.safetensors");
  const std::string sum = io::sha256_of(dir_ / "model.safetensors");
  expect_same(loaded(experiment(keys + "sha256 = \"" + sum + "\"\n", efficientnet)), state,
              "backbone.");
  EXPECT_EQ(message(experiment(keys + "sha256 = \"0123456789\"\n", efficientnet)),
            "weights/hub/timm/efficientnet_b0.ra_in1k/main/model.safetensors: has the SHA-256 " +
                sum +
                ", expected 0123456789 (as init.sha256 says); take the right file, or correct "
                "the sum");
  EXPECT_EQ(server.seen().size(), requests);
  for (const char* name : {"HF_ENDPOINT", "HF_HUB_CACHE", "STRATA_CACHE"}) ::unsetenv(name);
}

TEST_F(Initialise, WeightsInSeveralFiles) {
  const TensorMap state = weights();
  io::write_tensors(dir_ / "in/one.safetensors", part(state, "backbone", "backbone."));
  io::write_tensors(dir_ / "in/two.safetensors", part(state, "decode_head", "decode_head."));
  std::string map;
  for (const auto& [name, tensor] : state) {
    map += (map.empty() ? "" : ", ") + ('"' + name + "\": \"") +
           (name.starts_with("backbone.") ? "one" : "two") + ".safetensors\"";
  }
  tests::write_file(dir_ / "in/model.safetensors.index.json", "{\"weight_map\": {" + map + "}}");
  expect_same(loaded(experiment("[init]\nfrom = \"in\"\n")), state, "");
  EXPECT_EQ(message(experiment("[init]\nfrom = \"in\"\nsha256 = \"0123456789\"\n")),
            "in/model.safetensors.index.json: init.sha256: is of one file, this is an index of "
            "several; leave it out");
}

TEST_F(Initialise, MistakesAreLocated) {
  save(weights());
  EXPECT_EQ(message(experiment(init("part = \"backbon\""))),
            "test.toml:9:8: init.part: is no part of the model, got \"backbon\"; did you mean "
            "\"backbone\"?");
  EXPECT_EQ(message(experiment(init("reinit = [\"decode_head.cls_seg\"]"))),
            "test.toml:9:11: init.reinit.0: matches no parameter and no module, got "
            "\"decode_head.cls_seg\"; did you mean \"decode_head.conv_seg\"?");
  EXPECT_EQ(message(experiment("[init]\nfrom = \"none.pth\"\n")),
            "none.pth: no such file or folder");
}

}  // namespace
}  // namespace strata::engine
