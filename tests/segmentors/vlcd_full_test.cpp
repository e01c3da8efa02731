// VLCD and ChangeCLIP at full size: as many parameters as published, shapes, and what is trained.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

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

std::map<std::string, std::vector<std::int64_t>> shapes(Segmentor& model, std::int64_t size) {
  std::map<std::string, std::vector<std::int64_t>> seen;
  model.attach_probe([&](const std::string& name, const at::Tensor& value) {
    seen[name] = value.sizes().vec();
  });
  config::Named<LabelSpec> named;
  named.emplace_back("change", label_of("change", 2, "change"));
  const at::NoGradGuard no_grad;
  model.eval();
  const Outputs outputs =
      model.predict(synthetic_batch(LabelSpecs(std::move(named)), 2, 3, 1, size, size));
  seen["logits"] = outputs[0].second.data.sizes().vec();
  model.attach_probe(nullptr);
  return seen;
}

using Shape = std::vector<std::int64_t>;

TEST(FullVlcd, OfResNetsHasThePublishedSize) {
  EXPECT_EQ(count(*build({fused(kResNet, kSide50, "dot"), 1024, kCfc, ""})),
            (Counts{182191890, 79760818}));
  const auto reduced = build({fused(kResNet, kSide50, "dot"), 1024, kReduced, ""});
  EXPECT_EQ(count(*reduced), (Counts{154331666, 51900594}));
  const auto seen = shapes(*reduced, 256);
  EXPECT_EQ(seen.at("feat.0.0"), (Shape{1, 256, 64, 64}));
  EXPECT_EQ(seen.at("feat.1.3"), (Shape{1, 2048, 8, 8}));
  EXPECT_EQ(seen.at("text.1"), (Shape{1, 2, 1024}));
  EXPECT_EQ(seen.at("neck.0"), (Shape{1, 256, 64, 64}));
  EXPECT_EQ(seen.at("neck.3"), (Shape{1, 256, 8, 8}));
  EXPECT_EQ(seen.at("out.decode_head.logits"), (Shape{1, 2, 64, 64}));
  EXPECT_EQ(seen.at("logits"), (Shape{1, 2, 256, 256}));
}

TEST(FullVlcd, OfTransformersHasThePublishedSize) {
  const auto model = build({fused(kVit, kDeit, "mha"), 512, kCfc, ""});
  // The last norm of DeiT, 768 parameters, reaches no output and is not trained here.
  EXPECT_EQ(count(*model), (Counts{235992562, 86325746 - 768}));
  const auto seen = shapes(*model, 256);
  EXPECT_EQ(seen.at("feat.0.0"), (Shape{1, 768, 64, 64}));
  EXPECT_EQ(seen.at("feat.1.3"), (Shape{1, 768, 8, 8}));
  EXPECT_EQ(seen.at("text.0"), (Shape{1, 2, 512}));
  EXPECT_EQ(seen.at("neck.2"), (Shape{1, 256, 16, 16}));
  EXPECT_EQ(seen.at("out.decode_head.logits"), (Shape{1, 2, 64, 64}));
}

TEST(FullChangeClip, HasThePublishedSize) {
  const std::string more = "freeze_text = false\nprompt = {n_ctx = 13, init = \"trunc_normal\"}\n";
  const auto resnet =
      build({kResNet, 1024, "{type = \"DFC\"}", more + "score_concat_index = 3\n"});
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
