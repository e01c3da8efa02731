// clip_tags with a tiny CLIP of random weights: its files hold what the towers say.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "backbones/backbone.hpp"
#include "framework/data/tags.hpp"
#include "framework/io/image.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "modules/zero_shot.hpp"
#include "tests/support/build.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

const std::string kVocabulary = STRATA_SOURCE_DIR "/tests/data/clip/vocabulary.txt";

struct Result {
  int status;
  std::string output;
};

Result clip_tags(const std::string& arguments) {
  Result result{-1, ""};
  FILE* pipe = ::popen((STRATA_BINARY_DIR "/tools/clip_tags " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  char part[4096];
  for (std::size_t size; (size = std::fread(part, 1, sizeof(part), pipe)) > 0;) {
    result.output.append(part, size);
  }
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

struct TinyClip {
  std::shared_ptr<Backbone> image;
  std::shared_ptr<TextEncoder> text;

  explicit TinyClip(const std::string& tower) {
    image = slot_of<Backbone>(tower).build({FeatureSpec::image(3)});
    text = slot_of<TextEncoder>(
               "type = \"CLIPTextContextEncoder\"\ncontext_length = 30\n"
               "transformer_width = 64\ntransformer_heads = 1\n"
               "transformer_layers = 2\nembed_dim = 16\nvocabulary = \"" +
               kVocabulary + "\"")
               .build({});
    image->eval();
    text->eval();
  }

  /// In OpenAI's layout.
  void write(const std::string& path) const {
    TensorMap tensors = io::state_of(*text);
    for (const auto& [name, tensor] : io::state_of(*image)) {
      tensors.emplace_back("visual." + name, tensor);
    }
    tensors.emplace_back("logit_scale", at::full({}, std::log(50.0)));
    io::write_tensors(path, tensors);
  }
};

/// The same in that of Hugging Face's CLIPModel.
TensorMap as_clip_model(const TinyClip& clip) {
  const std::vector<std::pair<std::string, std::string>> parts = {
      {"token_embedding", "embeddings.token_embedding"},
      {"conv1", "embeddings.patch_embedding"},
      {"ln_pre", "pre_layrnorm"},
      {"ln_post", "post_layernorm"},
      {"ln_final", "final_layer_norm"},
      {"transformer.resblocks", "encoder.layers"},
      {".attn.out_proj", ".self_attn.out_proj"},
      {".ln_1", ".layer_norm1"},
      {".ln_2", ".layer_norm2"},
      {".mlp.c_fc", ".mlp.fc1"},
      {".mlp.c_proj", ".mlp.fc2"}};
  TensorMap tensors{{"logit_scale", at::full({}, std::log(50.0))}};
  for (const bool visual : {true, false}) {
    const std::string model = visual ? "vision_model." : "text_model.";
    for (const auto& [name, tensor] :
         io::state_of(visual ? static_cast<torch::nn::Module&>(*clip.image) : *clip.text)) {
      if (name == "proj" || name == "text_projection") {
        tensors.emplace_back(visual ? "visual_projection.weight" : "text_projection.weight",
                             tensor.t().contiguous());
        continue;
      }
      if (name == "class_embedding" || name == "positional_embedding") {
        tensors.emplace_back(model + "embeddings." +
                                 (name == "class_embedding" ? name : "position_embedding.weight"),
                             tensor);
        continue;
      }
      std::string theirs = name;
      for (const auto& [from, to] : parts) {
        if (const auto place = theirs.find(from); place != std::string::npos) {
          theirs.replace(place, from.size(), to);
        }
      }
      if (const auto place = theirs.find("attn.in_proj_"); place != std::string::npos) {
        const auto three = tensor.chunk(3, 0);
        for (std::size_t i = 0; i < 3; ++i) {
          std::string one = theirs;
          one.replace(place, 13, std::string("self_attn.") + "qkv"[i] + "_proj.");
          tensors.emplace_back(model + one, three[i].contiguous());
        }
        continue;
      }
      tensors.emplace_back(model + theirs, tensor);
    }
  }
  return tensors;
}

const std::vector<std::string> kTowers = {
    "type = \"CLIPVisionTransformer\"\npyramid = false\npatch_size = 8\nwidth = 64\nlayers = 2\n"
    "heads = 1\noutput_dim = 16\ninput_resolution = 32",
    "type = \"CLIPResNetWithAttention\"\nlayers = [1, 2, 1, 1]\nwidth = 4\noutput_dim = 16\n"
    "input_resolution = 64"};

at::Tensor drawn(int seed) {
  return at::arange(40 * 52 * 3).mul(seed * 37 + 11).remainder(251).to(at::kByte).view({40, 52, 3});
}

TEST(ClipTags, WritesWhatTheTowersSay) {
  for (const std::string& tower : kTowers) {
    TempDir dir;
    const TinyClip clip(tower);
    clip.write(dir / "clip.safetensors");
    for (int i = 0; i < 5; ++i) {
      io::write_png(dir / ("A/" + std::to_string(i) + ".png"), drawn(i));
      io::write_png(dir / ("B/" + std::to_string(i) + ".png"), drawn(i + 5));
    }
    write_file(dir / "names.txt", "lake, water all around\nforest\n\nbare land\r\n");
    const std::string call = dir.path() + "/A " + dir.path() + "/B/ --weights " + dir.path() +
                             "/clip.safetensors --vocabulary " + kVocabulary + " --classes " +
                             dir.path() + "/names.txt --prompt 'a photo of {}.'";
    const Result first = clip_tags(call + " --batch 2");
    ASSERT_EQ(first.status, 0) << first.output;

    const std::vector<std::string> classes = {"lake", "forest", "bare land"};
    const modules::ZeroShot expected(*clip.text, classes,
                                     {.prompt = "a photo of {}.", .scale = 50, .length = 30});
    const std::int64_t side = tower.find("ResNet") == std::string::npos ? 32 : 64;
    const at::NoGradGuard no_grad;
    for (const char* folder : {"A", "B"}) {
      const auto pictures = read_tags(dir / (std::string(folder) + "_clipcls_56_vit16.json"));
      ASSERT_EQ(pictures.size(), 5U);
      for (int i = 0; i < 5; ++i) {
        const PictureTags& got = pictures[static_cast<std::size_t>(i)];
        EXPECT_EQ(got.picture, dir.path() + "/" + folder + "/" + std::to_string(i) + ".png");
        const at::Tensor input =
            modules::clip_picture(drawn(i + (*folder == 'B' ? 5 : 0)), side).unsqueeze(0);
        const at::Tensor want =
            expected.probabilities(clip.image->forward(input).extras.at("global"))[0];
        ASSERT_EQ(got.classes.size(), 3U);
        for (std::size_t k = 0; k < 3; ++k) {
          const auto& [name, probability] = got.classes[k];
          const auto place = std::find(classes.begin(), classes.end(), name) - classes.begin();
          EXPECT_NEAR(probability, want[place].item<double>(), 1e-4) << name;
          EXPECT_LE(probability, got.classes[k == 0 ? 0 : k - 1].second);
        }
      }
    }
    const SceneTags tags({.top = 2});
    EXPECT_EQ(tags.of({dir / "A/0.png", dir / "B/3.png"})[1].size(), 2U);

    // What is there is not found again; what is gone is not kept; a damaged picture costs itself.
    const std::string before = file_content(dir / "A_clipcls_56_vit16.json");
    const Result second = clip_tags(call);
    EXPECT_NE(second.output.find("5 pictures, 5 of them were there"), std::string::npos)
        << second.output;
    EXPECT_EQ(file_content(dir / "A_clipcls_56_vit16.json"), before);
    std::filesystem::remove(dir / "A/0.png");
    io::write_png(dir / "A/5.png", drawn(3));
    write_file(dir / "A/9.png", "no picture");
    const Result third = clip_tags(call + " --batch 1");
    EXPECT_EQ(third.status, 2);
    EXPECT_NE(third.output.find("/A/9.png: "), std::string::npos) << third.output;
    const auto kept = read_tags(dir / "A_clipcls_56_vit16.json");
    ASSERT_EQ(kept.size(), 5U);
    EXPECT_EQ(kept.front().picture, dir.path() + "/A/1.png");
    EXPECT_EQ(kept.back().picture, dir.path() + "/A/5.png");
    EXPECT_EQ(kept.back().classes, kept[2].classes) << "the same picture under another name";
  }
}

// Starts the tool in the background; what it says goes to a file.
pid_t start(const std::string& arguments, const std::string& log) {
  const std::string command =
      "exec " STRATA_BINARY_DIR "/tools/clip_tags " + arguments + " >" + log + " 2>&1";
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  return child;
}

// Waits until a file is opened that `watch` was told of.
bool opened(int watch) {
  pollfd events{watch, POLLIN, 0};
  return ::poll(&events, 1, /*milliseconds=*/60000) == 1;
}

TEST(ClipTags, AnInterruptedCallKeepsWhatItFoundAndGoesOn) {
  for (const int signal : {SIGINT, SIGTERM}) {
    TempDir dir;
    TinyClip(kTowers[0]).write(dir / "clip.safetensors");
    // Two pictures, and many that take a while: the signal comes when the first of these is opened.
    constexpr int kPictures = 60;
    const auto picture = [&](int i) { return dir / fmt::format("A/{:02}.png", i); };
    for (const int i : {0, 1}) io::write_png(picture(i), drawn(i));
    io::write_png(picture(2), drawn(2).repeat({30, 30, 1}));
    for (int i = 3; i < kPictures; ++i) std::filesystem::create_hard_link(picture(2), picture(i));
    const std::string tags = dir / "A_clipcls_56_vit16.json", log = dir / "log",
                      call = dir / "A --batch 1 --vocabulary " + kVocabulary + " --weights " +
                             (dir / "clip.safetensors");
    const int watch = ::inotify_init1(IN_CLOEXEC);
    ASSERT_GE(::inotify_add_watch(watch, picture(2).c_str(), IN_OPEN), 0);
    const pid_t child = start(call, log);
    ASSERT_GT(child, 0);
    EXPECT_TRUE(opened(watch));
    ::kill(child, signal);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ::close(watch);
    ASSERT_TRUE(WIFEXITED(status)) << status;
    EXPECT_EQ(WEXITSTATUS(status), 130);
    const auto found = read_tags(tags);
    ASSERT_GE(found.size(), 2U);
    ASSERT_LT(found.size(), std::size_t{kPictures});
    EXPECT_EQ(file_content(log), fmt::format("{}: {} of {} pictures; the same command goes on from "
                                             "there\n",
                                             tags, found.size(), kPictures));

    // The rest, less most of the many; then all of it anew in one go.
    constexpr int kLeft = 5;
    for (int i = kLeft; i < kPictures; ++i) std::filesystem::remove(picture(i));
    const Result rest = clip_tags(call);
    EXPECT_EQ(rest.status, 0);
    EXPECT_EQ(rest.output, fmt::format("{}: {} pictures, {} of them were there\n", tags, kLeft,
                                       std::min(found.size(), std::size_t{kLeft})));
    const std::string in_two = file_content(tags);
    EXPECT_EQ(clip_tags(call + " --force").status, 0);
    EXPECT_EQ(file_content(tags), in_two);
  }
}

TEST(ClipTags, TakesHuggingFacesLayoutToo) {
  TempDir dir;
  const TinyClip clip(kTowers[0]);
  clip.write(dir / "openai.safetensors");
  io::write_tensors(dir / "hf.safetensors", as_clip_model(clip));
  io::write_png(dir / "A/1.png", drawn(1));
  std::vector<std::vector<PictureTags>> found;
  for (const char* layout : {"openai", "hf"}) {
    const Result run = clip_tags(dir.path() + "/A --force --vocabulary " + kVocabulary +
                                 " --weights " + dir.path() + "/" + layout + ".safetensors");
    ASSERT_EQ(run.status, 0) << run.output;
    found.push_back(read_tags(dir / "A_clipcls_56_vit16.json"));
  }
  EXPECT_EQ(found[0][0].classes.size(), 56U);
  EXPECT_EQ(found[0][0].classes, found[1][0].classes);
}

TEST(ClipTags, MistakesAreNamedBeforeAnythingIsComputed) {
  TempDir dir;
  TinyClip(kTowers[0]).write(dir / "clip.safetensors");
  io::write_png(dir / "A/1.png", drawn(1));
  std::filesystem::create_directory(dir / "empty");
  const std::string a = dir.path() + "/A", clip = " --weights " + dir.path() + "/clip.safetensors",
                    words = " --vocabulary " + kVocabulary;
  write_file(dir / "twice.txt", "lake\nsea\nlake\n");
  io::write_tensors(dir / "other.safetensors", {{"weight", at::zeros({2})}});
  for (const auto& [call, message] : std::vector<std::pair<std::string, std::string>>{
           {dir.path() + "/C" + clip + words, dir.path() + "/C: no such folder"},
           {dir.path() + "/empty" + clip + words, dir.path() + "/empty: holds no picture"},
           {a + clip + words + " --prompt 'a photo'",
            "prompt: has no {} for the name of a class, got \"a photo\""},
           {a + clip + words + " --classes " + dir.path() + "/twice.txt",
            dir.path() + "/twice.txt: names \"lake\" twice"},
           {a + words + " --weights " + dir.path() + "/other.safetensors",
            dir.path() +
                "/other.safetensors: is no CLIP in the layout of OpenAI or Hugging Face, it "
                "has no \"visual.attnpool.positional_embedding\""}}) {
    const Result run = clip_tags(call);
    EXPECT_EQ(run.status, 2);
    EXPECT_EQ(run.output, message + "\n");
  }
}

}  // namespace
}  // namespace strata::tests
