// Archives of CLIP in the layouts of OpenAI and Hugging Face, through [init]: both towers of one
// file, and the features that open_clip makes of it (tests/parity/clip.py).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "backbones/backbone.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/engine/initialise.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "modules/text_encoder.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata {
namespace {

const std::string kArchives = STRATA_SOURCE_DIR "/tests/data/clip/";
const std::string kRn = "type = 'CLIPResNetWithAttention', layers = [1, 1, 1, 1], width = 2, ";
const std::string kVit =
    "type = 'CLIPVisionTransformer', patch_size = 16, width = 64, layers = 2, heads = 1, "
    "out_indices = [0, 0, 1, 1], ";

struct Towers : torch::nn::Module {
  explicit Towers(const std::string& image, std::int64_t context_length = 16) {
    const std::string toml = "[image]\nbackbone = {" + image +
                             ", output_dim = 24}\n[text]\nencoder = {type = "
                             "'CLIPTextContextEncoder', vocabulary = '" +
                             kArchives +
                             "vocabulary.txt', context_length = " + std::to_string(context_length) +
                             ", transformer_width = 64, transformer_heads = 1, "
                             "transformer_layers = 1, embed_dim = 24}\n";
    backbone = register_module("backbone", tests::bind_slot<Backbone>(toml, "image.backbone")
                                               .build(Backbone::Context{FeatureSpec::image(3)}));
    text_encoder = register_module(
        "text_encoder",
        tests::bind_slot<TextEncoder>(toml, "text.encoder").build(TextEncoder::Context{}));
    eval();
  }
  void load(const std::string& file, const std::string& image_map = "auto",
            const std::string& text_map = "auto") {
    Experiment experiment;
    for (const auto& [part, map] : {std::pair{"backbone", image_map}, {"text_encoder", text_map}}) {
      InitOptions init;
      init.from.text = init.from.resolved = file;
      init.part = part;
      init.key_map = map;
      experiment.init.sets.emplace_back(part, init);
    }
    engine::initialise(experiment, *this);
  }
  /// Like open_clip's encode_text: [texts, 24].
  at::Tensor encode_texts(const std::vector<std::string>& texts) {
    std::vector<at::Tensor> rows;
    std::vector<std::int64_t> ends;
    for (const std::string& text : texts) {
      const auto ids = text_encoder->tokenize(text, 16);
      ends.push_back(static_cast<std::int64_t>(ids.size()) - 1);
      rows.push_back(at::constant_pad_nd(at::tensor(ids, at::kLong),
                                         {0, 16 - static_cast<std::int64_t>(ids.size())}));
    }
    return text_encoder->forward(text_encoder->embed(at::stack(rows)), at::tensor(ends, at::kLong));
  }
  std::shared_ptr<Backbone> backbone;
  std::shared_ptr<TextEncoder> text_encoder;
};

nlohmann::json features() {
  return nlohmann::json::parse(tests::file_content(kArchives + "features.json"));
}

void expect_features(Towers& towers, const std::string& kind) {
  const at::NoGradGuard no_grad;
  towers.to(at::kDouble);
  const auto want = features();
  const auto tensor = [&](const char* name) {
    std::vector<at::Tensor> rows;
    for (const auto& row : want[kind][name]) {
      rows.push_back(at::tensor(row.get<std::vector<double>>(), at::kDouble));
    }
    return at::stack(rows);
  };
  const at::Tensor image = tests::parity::uniform("image", {2, 3, 64, 64});
  const auto difference = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).abs().max() / b.abs().max()).item<double>();
  };
  EXPECT_LE(difference(towers.backbone->forward(image).extras.at("global"), tensor("image")),
            1e-10);
  EXPECT_LE(difference(towers.encode_texts(want["texts"]), tensor("text")), 1e-10);
}

TEST(ClipWeights, FillBothTowersFromAnArchiveOfOpenAi) {
  for (const auto& [kind, image] : {std::pair{"rn", kRn}, {"vit", kVit}}) {
    SCOPED_TRACE(kind);
    Towers towers(image + "input_resolution = 64");
    const std::string file = kArchives + kind + ".pt";
    const at::Tensor fresh = kind == std::string("vit")
                                 ? towers.backbone->named_parameters()["fpn1.1.weight"].clone()
                                 : at::Tensor();
    towers.load(file);
    for (const auto& [name, tensor] : io::read_tensors(file).tensors) {
      if (!name.starts_with("visual.") || name.ends_with("tracked")) continue;
      const auto own = io::state_of(*towers.backbone);
      EXPECT_TRUE(at::equal(get(own, name.substr(7)), tensor.to(at::kFloat))) << name;
    }
    if (fresh.defined()) {
      EXPECT_TRUE(at::equal(fresh, towers.backbone->named_parameters()["fpn1.1.weight"]));
    }
    expect_features(towers, kind);
  }
}

TEST(ClipWeights, ReadPlainDictsAndOpenClipsNamesAsWell) {
  const tests::TempDir dir;
  TensorMap state;
  for (const auto& [name, tensor] : io::read_tensors(kArchives + "rn.pt").tensors) {
    if (!name.ends_with("num_batches_tracked")) state.emplace_back(name, tensor.to(at::kFloat));
  }
  for (const char* file : {"clip.pth", "clip.safetensors"}) {
    io::write_tensors(dir / file, state);
    Towers towers(kRn + "input_resolution = 64");
    towers.load(dir / file, "openai.clip_visual", "openai.clip_text");
    expect_features(towers, "rn");
  }
}

TEST(ClipWeights, FillBothTowersFromHuggingFacesModel) {
  for (const bool chosen : {false, true}) {
    Towers towers(kVit + "input_resolution = 64");
    towers.load(kArchives + "transformers.safetensors",
                chosen ? "transformers.clip_visual" : "auto",
                chosen ? "transformers.clip_text" : "auto");
    expect_features(towers, "vit");
  }
}

TEST(ClipWeights, BringPositionsToTheConfiguredSizes) {
  // The pool's 2 x 2 grid becomes 4 x 4: bilinear with half-pixel centres, so that along an axis
  // the values are a, (3a + b) / 4, (a + 3b) / 4, b. Of 16 positions of text 9 stay.
  Towers towers(kRn + "input_resolution = 128", 9);
  towers.load(kArchives + "rn.pt");
  const auto file = io::read_tensors(kArchives + "rn.pt").tensors;
  const at::Tensor theirs = get(file, "visual.attnpool.positional_embedding").to(at::kFloat);
  const at::Tensor ours = towers.backbone->named_parameters()["attnpool.positional_embedding"];
  ASSERT_EQ(ours.sizes(), (std::vector<std::int64_t>{17, 64}));
  EXPECT_TRUE(at::equal(ours[0], theirs[0]));
  EXPECT_TRUE(at::allclose(ours[1], theirs[1], 0, 1e-6));
  EXPECT_TRUE(at::allclose(ours[2], (3 * theirs[1] + theirs[2]) / 4, 0, 1e-6));
  EXPECT_TRUE(at::allclose(
      ours[6], (9 * theirs[1] + 3 * theirs[2] + 3 * theirs[3] + theirs[4]) / 16, 0, 1e-6));
  const at::Tensor text = towers.text_encoder->named_parameters()["positional_embedding"];
  EXPECT_TRUE(at::equal(text, get(file, "positional_embedding").narrow(0, 0, 9)));
}

// A pool of 4 x 4 positions, made of the archive's 2 x 2, sees an image of 3 x 3 places: resized
// twice, as DenseCLIP does. A pool of the archive's own size resizes once, which is something else.
TEST(ClipWeights, BringPositionsOfThePoolToAnImageInTwoSteps) {
  const at::NoGradGuard no_grad;
  const at::Tensor image = tests::parity::uniform("image", {1, 3, 96, 96}).to(at::kFloat);
  const auto dense = [&](int resolution, const at::Tensor& positions) {
    Towers towers(kRn + "input_resolution = " + std::to_string(resolution));
    towers.load(kArchives + "rn.pt");
    at::Tensor own = towers.backbone->named_parameters()["attnpool.positional_embedding"];
    if (positions.defined()) own.copy_(positions);
    return towers.backbone->forward(image).extras.at("dense").clone();
  };
  const at::Tensor theirs =
      get(io::read_tensors(kArchives + "rn.pt").tensors, "visual.attnpool.positional_embedding")
          .to(at::kFloat);
  const auto resized = [](const at::Tensor& positions, std::int64_t to) {
    const std::int64_t from = std::llround(std::sqrt(static_cast<double>(positions.size(0) - 1)));
    const at::Tensor grid =
        positions.narrow(0, 1, from * from).t().reshape({1, -1, from, from}).contiguous();
    const at::Tensor made = at::upsample_bilinear2d(grid, {to, to}, /*align_corners=*/false);
    return at::cat({positions.narrow(0, 0, 1), made.reshape({-1, to * to}).t()});
  };
  const at::Tensor twice = dense(96, resized(resized(theirs, 4), 3));
  const at::Tensor once = dense(96, resized(theirs, 3));
  EXPECT_TRUE(at::allclose(dense(128, {}), twice, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(dense(64, {}), once, 1e-5, 1e-6));
  EXPECT_GT((twice - once).abs().max().item<double>(), 1e-4);
}

TEST(ClipWeights, AreRefusedByAnotherTower) {
  Towers towers(kVit + "input_resolution = 64");
  const std::string text = tests::message_of([&] { towers.load(kArchives + "rn.pt"); });
  EXPECT_NE(text.find("the weights do not fit the model"), std::string::npos) << text;
  EXPECT_EQ(text.find("fpn"), std::string::npos) << text;
}

}  // namespace
}  // namespace strata
