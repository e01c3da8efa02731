// VLCD and ChangeCLIP at full size: as many parameters as published, shapes, and what is trained.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "backbones/backbone.hpp"
#include "framework/inference/slide.hpp"
#include "segmentors/segmentor.hpp"
#include "tests/support/build.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests::vlcd_full {
namespace {

// A vocabulary of CLIP's size: pairs of bytes, all different.
std::string vocabulary() {
  static const TempDir folder;
  const std::string path = folder / "merges.txt";
  if (std::ifstream(path)) return path;
  std::vector<std::string> symbols;
  const auto add = [&](int point) {
    symbols.emplace_back();
    if (point >= 128) symbols.back() += static_cast<char>(0xC0 | (point >> 6));
    symbols.back() += static_cast<char>(point >= 128 ? 0x80 | (point & 0x3F) : point);
  };
  for (int point = 33; point <= 126; ++point) add(point);
  for (int point = 161; point <= 255; ++point) {
    if (point != 173) add(point);
  }
  for (int point = 256; point < 256 + 68; ++point) add(point);
  std::ofstream file(path);
  file << "merges\n";
  for (int i = 0; i < 48894; ++i) {
    file << symbols[static_cast<std::size_t>(i) / 256] << ' '
         << symbols[static_cast<std::size_t>(i) % 256] << "</w>\n";
  }
  return path;
}

struct Variant {
  std::string backbone;
  std::int64_t text = 1024;
  std::string neck;
  std::string more;

  std::string toml() const {
    return "[model]\ntype = \"VLCD\"\nbackbone = " + backbone +
           "\ntext_encoder = {type = \"CLIPTextContextEncoder\", embed_dim = " +
           std::to_string(text) + ", vocabulary = \"" + vocabulary() +
           "\"}\ncontext_decoder = {type = \"ContextDecoder\", layers = 3}\nneck = " + neck +
           "\ndecode_head = {type = \"SwinTextDecode\"}\n" + more;
  }
};

std::string fused(const std::string& clip, const std::string& side, const std::string& bridge) {
  return "{type = \"SideFusionCLIP\", clip = " + clip + ", rs_backbone = " + side +
         ", bridge = {type = \"" + bridge + "\"}}";
}

const std::string kResNet = "{type = \"CLIPResNetWithAttention\", input_resolution = 512}";
const std::string kVit =
    "{type = \"CLIPVisionTransformer\", variant = \"B/16\", input_resolution = 256}";
const std::string kDeit =
    "{type = \"VisionTransformer\", variant = \"deit-small\", img_size = 256, out_channels = 768}";
const std::string kCfc = "[{type = \"CFC\"}, {type = \"FPN\"}]";
const std::string kReduced = "[{type = \"CFC\", reduce_to = 256}, {type = \"FPN\"}]";
const std::string kSide50 = "{type = \"ResNet\", depth = 50}";

std::shared_ptr<Segmentor> build(const Variant& variant) {
  config::Named<LabelSpec> named;
  named.emplace_back("change", label_of("change", 2, "change"));
  return bind_slot<Segmentor>(variant.toml(), "model").build({LabelSpecs(std::move(named)), 3});
}

struct Counts {
  std::int64_t all = 0, learning = 0;
  bool operator==(const Counts&) const = default;
};

Counts count(torch::nn::Module& model) {
  Counts counts;
  for (const at::Tensor& parameter : model.parameters()) {
    counts.all += parameter.numel();
    if (parameter.requires_grad()) counts.learning += parameter.numel();
  }
  return counts;
}

void PrintTo(const Counts& counts, std::ostream* stream) {
  *stream << counts.all << ", " << counts.learning << " learn";
}

using Shape = std::vector<std::int64_t>;

Batch pictures(std::int64_t size) {
  config::Named<LabelSpec> named;
  named.emplace_back("change", label_of("change", 2, "change"));
  return synthetic_batch(LabelSpecs(std::move(named)), 2, 3, 1, size, size);
}

/// Of what predict goes through; `slide`: windows, whose shapes are all the same.
std::map<std::string, Shape> shapes(Segmentor& model, std::int64_t size,
                                    const InferenceOptions* windows = nullptr) {
  std::map<std::string, Shape> seen;
  model.attach_probe([&](const std::string& name, const at::Tensor& value) {
    const auto [place, fresh] = seen.emplace(name, value.sizes().vec());
    EXPECT_TRUE(fresh || (windows != nullptr && place->second == value.sizes())) << name;
  });
  const at::NoGradGuard no_grad;
  model.eval();
  int calls = 0;
  const auto predict = [&](const Batch& batch) {
    ++calls;
    return model.predict(batch);
  };
  const Outputs outputs = windows == nullptr ? predict(pictures(size))
                                             : inference::slide(*windows, pictures(size), predict);
  EXPECT_EQ(calls, windows == nullptr ? 1 : 4);
  seen["logits"] = outputs[0].second.data.sizes().vec();
  model.attach_probe(nullptr);
  return seen;
}

/// What the specification's table of shapes says of a form, for pictures of 256 x 256.
struct Table {
  std::vector<std::int64_t> clip, side;  // channels of the levels
  std::int64_t embedding, dense;         // width of texts and images; side of the dense embedding
};

/// Pictures of `size`, whole: all maps have grown with them. Gives the shapes.
std::map<std::string, Shape> expect_table(Segmentor& model, const Table& table, std::int64_t size) {
  SCOPED_TRACE(size);
  const auto towers = model.named_modules();
  const at::NoGradGuard no_grad;
  model.eval();
  const auto side_of = [&](std::size_t level) { return size / 4 >> level; };
  const at::Tensor image = at::zeros({1, 3, size, size});
  const auto clip = dynamic_cast<Backbone&>(*towers["backbone.clip"]).forward(image);
  const auto side = dynamic_cast<Backbone&>(*towers["backbone.rs_backbone"]).forward(image);
  const std::int64_t dense = table.dense * size / 256;
  EXPECT_EQ(clip.extras.at("global").sizes(), (Shape{1, table.embedding}));
  EXPECT_EQ(clip.extras.at("dense").sizes(), (Shape{1, table.embedding, dense, dense}));
  const auto seen = shapes(model, size);
  for (std::size_t i = 0; i < 4; ++i) {
    const Shape fused{1, table.side[i], side_of(i), side_of(i)};
    EXPECT_EQ(clip.levels[i].sizes(), (Shape{1, table.clip[i], side_of(i), side_of(i)}));
    EXPECT_EQ(side.levels[i].sizes(), fused);
    for (const char* date : {"feat.0.", "feat.1."}) {
      EXPECT_EQ(seen.at(date + std::to_string(i)), fused);
    }
    EXPECT_EQ(seen.at("neck." + std::to_string(i)), (Shape{1, 256, side_of(i), side_of(i)}));
  }
  EXPECT_EQ(seen.at("text.0"), (Shape{1, 2, table.embedding}));
  EXPECT_EQ(seen.at("text.1"), (Shape{1, 2, table.embedding}));
  EXPECT_EQ(seen.at("out.decode_head.logits"), (Shape{1, 2, size / 4, size / 4}));
  EXPECT_EQ(seen.at("logits"), (Shape{1, 2, size, size}));
  const auto parameters = model.named_parameters();
  EXPECT_EQ(parameters["learnable_prompt.ctx"].sizes(), (Shape{16, 512}));
  EXPECT_EQ(parameters["decode_head.linearB.0.weight"].sizes(), (Shape{128, table.embedding}));
  return seen;
}

/// Windows of 256 over 512 x 512 have the shapes that such a picture has.
void expect_slides(Segmentor& model, std::map<std::string, Shape> seen) {
  InferenceOptions windows;
  windows.mode = "slide";
  windows.crop_size = windows.stride = {256, 256};
  windows.window_batch = 1;
  const auto slid = shapes(model, 512, &windows);
  EXPECT_EQ(slid.at("logits"), (Shape{1, 2, 512, 512}));
  seen["logits"] = slid.at("logits");
  EXPECT_EQ(slid, seen);
}

std::vector<std::int64_t> widths_of_cfc(const Segmentor& model) {
  std::vector<std::int64_t> widths;
  for (int i = 0; i < 4; ++i) {
    const std::string name = "neck.0.fusion_convs." + std::to_string(i) + ".conv.weight";
    widths.push_back(model.named_parameters()[name].size(1));
  }
  return widths;
}

TEST(FullVlcd, OfResNetsHasThePublishedSize) {
  {
    const auto whole = build({fused(kResNet, kSide50, "dot"), 1024, kCfc, ""});
    EXPECT_EQ(count(*whole), (Counts{182191890, 79760818}));
    EXPECT_EQ(widths_of_cfc(*whole), (Shape{1024, 2048, 4096, 8192}));
  }
  const auto reduced = build({fused(kResNet, kSide50, "dot"), 1024, kReduced, ""});
  EXPECT_EQ(count(*reduced), (Counts{154331666, 51900594}));
  const Table table{{256, 512, 1024, 2048}, {256, 512, 1024, 2048}, 1024, 8};
  expect_slides(*reduced, expect_table(*reduced, table, 256));
  expect_table(*reduced, table, 512);
}

TEST(FullVlcd, OfTransformersHasThePublishedSize) {
  const auto model = build({fused(kVit, kDeit, "mha"), 512, kCfc, ""});
  // The last norm of DeiT, 768 parameters, reaches no output and is not trained here.
  EXPECT_EQ(count(*model), (Counts{235992562, 86325746 - 768}));
  EXPECT_EQ(widths_of_cfc(*model), (Shape{3072, 3072, 3072, 3072}));
  const Table table{{768, 768, 768, 768}, {768, 768, 768, 768}, 512, 16};
  expect_slides(*model, expect_table(*model, table, 256));
}

TEST(FullChangeClip, HasThePublishedSize) {
  const std::string more = "freeze_text = false\nprompt = {n_ctx = 13, init = \"trunc_normal\"}\n";
  const auto resnet = build({kResNet, 1024, "{type = \"DFC\"}", more + "score_concat_index = 3\n"});
  EXPECT_EQ(count(*resnet), (Counts{117540238, 117540238}));
  const auto seen = shapes(*resnet, 256);
  EXPECT_EQ(seen.at("score.0"), (Shape{1, 2, 8, 8}));
  EXPECT_EQ(seen.at("logits"), (Shape{1, 2, 256, 256}));
  const auto vit = build({kVit, 512, "{type = \"DFC\"}", more + "score_concat_index = 2\n"});
  EXPECT_EQ(count(*vit), (Counts{170746670, 170746670}));
  EXPECT_EQ(vit->named_parameters()["neck.minus_conv.2.conv.weight"].size(1), 770);
}

}  // namespace
}  // namespace strata::tests::vlcd_full
