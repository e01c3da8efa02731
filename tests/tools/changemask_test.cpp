// ChangeMask's folders: written by convert, read by [init], test and predict, and their config.json.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "backbones/key_maps.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/engine/initialise.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "registry/builtin.hpp"
#include "tests/support/parity.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

using nlohmann::json;

std::pair<int, std::string> tool(const std::string& arguments) {
  std::string text;
  FILE* pipe =
      ::popen((STRATA_BINARY_DIR "/tools/strata " + arguments + " 2>&1").c_str(), "r");
  std::array<char, 4096> part;
  for (std::size_t size = 0; (size = std::fread(part.data(), 1, part.size(), pipe)) > 0;) {
    text.append(part.data(), size);
  }
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, text};
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class ChangeMaskFolder : public testing::Test {
 protected:
  void SetUp() override { register_builtin_components(registry_); }

  /// A config without data: the README's of the port, but for `more` of its keys.
  json port(const json& more = json::object()) const {
    json config = {{"model_type", "changemask"},
                   {"encoder_type", "efficientnet-b0"},
                   {"encoder_weights", "imagenet"},
                   {"transformers_version", "4.54.0"},
                   {"num_semantic_classes", 4},
                   {"loss_config",
                    {{"t1", {{"ce", json::object()}, {"dice", json::object()}}},
                     {"t2", {{"ce", json::object()}, {"dice", json::object()}}},
                     {"change", {{"bce", {{"ls", 0.1}}}, {"dice", {{"gamma", 0.5}}}}},
                     {"sc", json::object()}}}};
    config.update(more);
    return config;
  }
  std::string converted(const json& config) {
    write_file(dir_ / "config.json", config.dump(2));
    const auto [status, text] =
        tool("convert --config " + (dir_ / "config.json") + " " + (dir_ / "model.toml"));
    EXPECT_EQ(status, 0) << text;
    return text;
  }
  Experiment experiment(const std::string& more = "") {
    const std::string path = dir_ / "more.toml";
    write_file(path, "_base_ = \"model.toml\"\n" + more);
    return load_experiment(path, {}, registry_);
  }
  /// Every tensor random, but the same for each model of these names.
  TensorMap filled() {
    const auto model = experiment().build_model();
    parity::fill(*model);
    TensorMap state;
    for (const auto& [name, tensor] : io::state_of(*model)) {
      state.emplace_back(name, tensor.detach().clone());
    }
    return state;
  }
  static void expect_same(const TensorMap& got, const TensorMap& want) {
    ASSERT_EQ(got.size(), want.size());
    for (const auto& [name, tensor] : want) EXPECT_TRUE(at::equal(get(got, name), tensor)) << name;
  }

  TempDir dir_;
  Registry registry_;
};

TEST_F(ChangeMaskFolder, IsReadAndWritten) {
  converted(port());
  const TensorMap state = filled();
  io::write_tensors(dir_ / "own.safetensors", state);
  const auto [status, text] = tool("convert " + (dir_ / "own.safetensors") + " " + (dir_ / "saved") +
                                   " --pretrained " + (dir_ / "model.toml"));
  ASSERT_EQ(status, 0) << text;

  const json config = json::parse(file_content(dir_ / "saved/config.json"));
  json want = port();
  want.erase("transformers_version");
  want.update({{"encoder_weights", nullptr},
               {"architectures", {"ChangeMaskModel"}},
               {"decoder_channels", {256, 128, 64, 32, 16}},
               {"temporal_interaction_type", "conv3d"},
               {"temporal_kernel_size", 3},
               {"temporal_dilation", 1},
               {"temporal_symmetric_fusion", "add"},
               {"num_change_classes", 1},
               {"torch_dtype", "float32"}});
  EXPECT_EQ(config, want);
  EXPECT_EQ(json::parse(file_content(dir_ / "saved/model_info.json")),
            (json{{"model_type", "changemask"}, {"version", "1.0.0"}}));

  const TensorMap saved = io::read_tensors(dir_ / "saved/pytorch_model.bin").tensors;
  ASSERT_EQ(saved.size(), 518U);
  EXPECT_EQ(get(saved, "temporal_transformer.t.1.0.weight").sizes(),
            (at::IntArrayRef{32, 32, 2, 3, 3}));
  EXPECT_EQ(get(saved, "semantic_head.weight").sizes(), (at::IntArrayRef{4, 16, 1, 1}));
  EXPECT_TRUE(at::equal(get(saved, "change_decoder.blocks.0.conv1.0.weight"),
                        get(state, "decode_head.1.neck.blocks.0.conv1.0.weight")));

  // The config that it says gives the same model, which takes the folder as it is.
  const std::string first = file_content(dir_ / "model.toml");
  converted(config);
  EXPECT_EQ(file_content(dir_ / "model.toml"), first);
  const Experiment again = experiment("[init]\nfrom = \"saved\"\n");
  auto model = again.build_model();
  engine::initialise(again, *model);
  expect_same(io::state_of(*model), state);
}

TEST_F(ChangeMaskFolder, TakesTorchangesOwnNames) {
  converted(port());
  const TensorMap state = filled();
  TensorMap theirs;
  for (const auto& [name, tensor] :
       io::rename(state, io::inverse(backbones::key_rules("torchange.changemask")))) {
    if (!name.ends_with("num_batches_tracked")) theirs.emplace_back("module." + name, tensor);
  }
  EXPECT_TRUE(std::any_of(theirs.begin(), theirs.end(),
                          [](const auto& one) { return one.first == "module.s.weight"; }));
  io::write_tensors(dir_ / "theirs.pth", theirs);
  const Experiment again = experiment("[init]\nfrom = \"theirs.pth\"\n");
  auto model = again.build_model();
  engine::initialise(again, *model);
  expect_same(io::state_of(*model), state);
}

TEST_F(ChangeMaskFolder, SaysWhatIsMissing) {
  converted(port());
  const TensorMap state = filled();
  TensorMap part;
  for (const auto& one : state) {
    if (!one.first.starts_with("neck.t.3.")) part.push_back(one);
  }
  io::write_tensors(dir_ / "part.pth", io::rename(part, io::inverse(backbones::key_rules("changemask"))));
  const auto [status, text] = tool("convert " + (dir_ / "part.pth") + " " + (dir_ / "saved") +
                                   " --pretrained " + (dir_ / "model.toml"));
  EXPECT_EQ(status, 2);
  EXPECT_TRUE(has(text, "5 missing")) << text;
  EXPECT_TRUE(has(text, "neck.t.3.0.weight")) << text;
  EXPECT_EQ(::system(("test -e " + (dir_ / "saved")).c_str()) != 0, true);
  const auto absent = tool("convert " + (dir_ / "no.bin") + " " + (dir_ / "saved") +
                           " --pretrained " + (dir_ / "model.toml"));
  EXPECT_EQ(absent.first, 2);
  EXPECT_TRUE(has(absent.second, "no.bin: no such file or folder")) << absent.second;
  write_file(dir_ / "small.toml",
             "_base_ = \"model.toml\"\n[model]\nneck = {image_channels = 0}\n");
  const auto small = tool("convert " + (dir_ / "part.pth") + " " + (dir_ / "saved") +
                          " --pretrained " + (dir_ / "small.toml"));
  EXPECT_EQ(small.first, 2);
  EXPECT_TRUE(has(small.second, "model.neck.0.image_channels: must be 3")) << small.second;
}

TEST_F(ChangeMaskFolder, ReadsConfigsAsTolerantlyAsThePort) {
  converted({{"model_type", "changemask"}, {"loss_config", json::object()}});
  EXPECT_TRUE(has(file_content(dir_ / "model.toml"), "symmetric_fusion = \"add\""));
  // What is stored there and never applied is not applied here; what is marked so, is.
  const std::string said = converted(port({{"temporal_dilation", 2},
                                           {"temporal_symmetric_fusion", nullptr},
                                           {"temporal_interaction_type", "conv1plus2d"},
                                           {"num_change_classes", 3},
                                           {"decoder_channels", nullptr},
                                           {"num_semantic_classes", 1}}));
  EXPECT_TRUE(has(said, "temporal_dilation: is stored there and never applied")) << said;
  std::string toml = file_content(dir_ / "model.toml");
  for (const char* part : {"dilation = 1\n", "symmetric_fusion = \"none\"", "conv1plus2d",
                           "[256, 128, 64, 32, 16]", "s1_bce_loss", "c_ce_loss",
                           "[\"unchanged\", \"class_1\", \"class_2\"]"}) {
    EXPECT_TRUE(has(toml, part)) << part << "\n" << toml;
  }
  EXPECT_EQ(tool("validate " + (dir_ / "model.toml")).first, 0);
  converted(port({{"temporal_dilation", 2}, {"temporal_dilation_applied", true}}));
  EXPECT_TRUE(has(file_content(dir_ / "model.toml"), "dilation = 2\n"));
  write_file(dir_ / "config.json", port({{"encoder_type", "resnet34"}}).dump());
  const auto other =
      tool("convert --config " + (dir_ / "config.json") + " " + (dir_ / "model.toml"));
  EXPECT_EQ(other.first, 2);
  EXPECT_TRUE(has(other.second, "encoder_type: only efficientnet-b0 to efficientnet-b7 are known "
                                "here, got \"resnet34\""))
      << other.second;
}

}  // namespace
}  // namespace strata::tests
