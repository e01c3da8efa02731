// The parts of transformers against their definitions.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/io/adapts_weights.hpp"
#include "framework/io/weights.hpp"
#include "framework/nn/attention.hpp"
#include "framework/nn/position_embedding.hpp"
#include "framework/nn/squeeze_excite.hpp"
#include "framework/nn/swin.hpp"
#include "framework/nn/token_pyramid.hpp"
#include "framework/nn/tokens.hpp"
#include "tests/support/gradcheck.hpp"

namespace strata {
namespace {

void to_double(torch::nn::Module& module) {
  for (at::Tensor& parameter : module.parameters()) {
    parameter.set_data(parameter.data().to(at::kDouble));
  }
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

std::vector<std::string> parameter_names(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& item : module.named_parameters()) names.push_back(item.key());
  return names;
}

/// softmax(q k^T scale + added) v, head by head.
at::Tensor plain_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           std::int64_t heads, double scale, const at::Tensor& added) {
  std::vector<at::Tensor> parts;
  for (std::int64_t h = 0; h < heads; ++h) {
    const auto head = [&](const at::Tensor& x) {
      return x.chunk(heads, 2)[static_cast<std::size_t>(h)];
    };
    at::Tensor scores = head(q).matmul(head(k).transpose(1, 2)) * scale;
    if (added.defined()) scores = scores + added;
    parts.push_back(scores.softmax(-1).matmul(head(v)));
  }
  return at::cat(parts, 2);
}

TEST(Attention, IsItsFormula) {
  const auto options = at::dtype(at::kDouble);
  const at::Tensor q = at::randn({2, 5, 6}, options), k = at::randn({2, 4, 6}, options),
                   v = at::randn({2, 4, 6}, options), wide = at::randn({2, 4, 9}, options),
                   mask = at::randn({5, 4}, options);
  const double usual = 1 / std::sqrt(2.0);
  EXPECT_LT(distance(nn::attention(q, k, v, 3), plain_attention(q, k, v, 3, usual, {})), 1e-12);
  EXPECT_LT(distance(nn::attention(q, k, v, 3, {.mask = mask, .scale = 0.3}),
                     plain_attention(q, k, v, 3, 0.3, mask)),
            1e-12);
  EXPECT_LT(distance(nn::attention(q, k, wide, 3), plain_attention(q, k, wide, 3, usual, {})),
            1e-12);
  const at::Tensor qkv = at::randn({2, 5, 18}, options);
  const auto parts = qkv.chunk(3, 2);
  const at::Tensor future = at::full({5, 5}, -INFINITY, options).triu(1);
  EXPECT_LT(distance(nn::self_attention(qkv, 3, {.causal = true}),
                     plain_attention(parts[0], parts[1], parts[2], 3, usual, future)),
            1e-12);
  tests::expect_gradient(
      [](const at::Tensor& x) { return nn::self_attention(x, 3).square().sum(); },
      at::randn({2, 5, 18}, options));
}

TEST(Attention, HasTheNamesOfCheckpoints) {
  EXPECT_EQ(parameter_names(nn::QkvAttention(8, 2)),
            (std::vector<std::string>{"qkv.weight", "qkv.bias", "proj.weight", "proj.bias"}));
  EXPECT_EQ(parameter_names(nn::PackedAttention(8, 2)),
            (std::vector<std::string>{"in_proj_weight", "in_proj_bias", "out_proj.weight",
                                      "out_proj.bias"}));
  EXPECT_EQ(parameter_names(nn::Mlp(8, 32, {.first = "c_fc", .second = "c_proj"})),
            (std::vector<std::string>{"c_fc.weight", "c_fc.bias", "c_proj.weight", "c_proj.bias"}));
  nn::SwinBlock block({.width = 8, .heads = 2, .names = nn::SwinNames::mmseg});
  EXPECT_EQ(parameter_names(block),
            (std::vector<std::string>{
                "norm1.weight", "norm1.bias", "attn.w_msa.relative_position_bias_table",
                "attn.w_msa.qkv.weight", "attn.w_msa.qkv.bias", "attn.w_msa.proj.weight",
                "attn.w_msa.proj.bias", "norm2.weight", "norm2.bias", "ffn.layers.0.0.weight",
                "ffn.layers.0.0.bias", "ffn.layers.1.weight", "ffn.layers.1.bias"}));
}

TEST(Activation, OfClipIsSmoothAndKeepsItsInput) {
  const auto quick = nn::Activation::quick_gelu();
  const at::Tensor x = at::linspace(-4, 4, 9, at::kDouble);
  const at::Tensor wanted = x * (1.702 * x).sigmoid();
  EXPECT_LT(distance(nn::activate_(x.clone(), quick), wanted), 1e-15);
  tests::expect_gradient(
      [&](const at::Tensor& t) { return nn::activate_(t * 1.0, quick).square().sum(); }, x);
}

/// Attention in shifted windows as the paper describes it, pixel by pixel.
at::Tensor plain_window_attention(const at::Tensor& qkv, const at::Tensor& padding,
                                  const at::Tensor& table, std::int64_t heads, std::int64_t window,
                                  std::int64_t shift) {
  const std::int64_t n = qkv.size(0), height = qkv.size(1), width = qkv.size(2);
  const std::int64_t rows = (height + window - 1) / window * window;
  const std::int64_t columns = (width + window - 1) / window * window;
  const std::int64_t channels = qkv.size(3) / 3, d = channels / heads;
  const auto strip = [&](std::int64_t at, std::int64_t size) {
    return at < size - window ? 0 : at < size - shift ? 1 : 2;
  };
  at::Tensor out = at::zeros({n, height, width, channels}, qkv.options());
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::int64_t i = 0; i < height; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        const std::int64_t ri = (i - shift + rows) % rows, rj = (j - shift + columns) % columns;
        for (std::int64_t h = 0; h < heads; ++h) {
          const auto part = [&](const at::Tensor& token, std::int64_t which) {
            return token.narrow(0, which * channels + h * d, d);
          };
          const at::Tensor q = part(qkv[b][i][j], 0);
          std::vector<at::Tensor> scores, values;
          for (std::int64_t ki = 0; ki < window; ++ki) {
            for (std::int64_t kj = 0; kj < window; ++kj) {
              const std::int64_t si = ri / window * window + ki, sj = rj / window * window + kj;
              const std::int64_t oi = (si + shift) % rows, oj = (sj + shift) % columns;
              const at::Tensor key = oi < height && oj < width ? qkv[b][oi][oj] : padding;
              const std::int64_t place = (ri % window - ki + window - 1) * (2 * window - 1) +
                                         rj % window - kj + window - 1;
              const bool stranger = shift > 0 && (strip(si, rows) != strip(ri, rows) ||
                                                  strip(sj, columns) != strip(rj, columns));
              scores.push_back(q.dot(part(key, 1)) / std::sqrt(static_cast<double>(d)) +
                               table[place][h] - (stranger ? 100.0 : 0.0));
              values.push_back(part(key, 2));
            }
          }
          const at::Tensor weights = at::stack(scores).softmax(0);
          out[b][i][j].narrow(0, h * d, d).copy_(weights.matmul(at::stack(values)));
        }
      }
    }
  }
  return out;
}

TEST(Swin, AttendsInsideShiftedWindows) {
  const at::NoGradGuard no_grad;
  for (const std::int64_t shift : {0, 1}) {
    for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{5, 7}, {6, 3}}) {
      nn::WindowAttention attention({.width = 4, .heads = 2, .window = 3, .shift = shift});
      to_double(attention);
      const auto own = attention.named_parameters();
      own["relative_position_bias_table"].normal_();
      const at::Tensor x = at::randn({2, height, width, 4}, at::kDouble);
      const at::Tensor qkv = at::linear(x, own["qkv.weight"], own["qkv.bias"]);
      const at::Tensor wanted =
          at::linear(plain_window_attention(qkv, own["qkv.bias"],
                                            own["relative_position_bias_table"], 2, 3, shift),
                     own["proj.weight"], own["proj.bias"]);
      EXPECT_LT(distance(attention.forward(x), wanted), 1e-12)
          << height << " x " << width << ", shift " << shift;
    }
  }
}

TEST(Swin, IsDifferentiableWhereItPads) {
  nn::SwinBlock block({.width = 4, .heads = 2, .window = 3, .shift = 1});
  to_double(block);
  tests::expect_gradient([&](const at::Tensor& x) { return block.forward(x).square().sum(); },
                         at::randn({1, 4, 5, 4}, at::kDouble));
  for (auto& item : block.named_parameters()) {
    const at::Tensor parameter = item.value();
    const at::Tensor x = at::randn({1, 4, 5, 4}, at::kDouble);
    const at::Tensor before = parameter.data().clone();
    tests::expect_gradient(
        [&](const at::Tensor& value) {
          // The block computes with a value in the place of its parameter's.
          parameter.set_data(value.data());
          parameter.mutable_grad() = at::Tensor();
          const at::Tensor loss = block.forward(x).square().sum();
          if (!value.requires_grad()) return loss.detach();
          loss.backward();
          return (value * parameter.grad()).sum() - (value.detach() * parameter.grad()).sum() +
                 loss.detach();
        },
        before);
    parameter.set_data(before);
  }
}

TEST(TokenPyramid, DoublesAsATransposedConvolutionDoes) {
  torch::nn::ConvTranspose2d conv(torch::nn::ConvTranspose2dOptions(3, 5, 2).stride(2));
  to_double(*conv);
  const at::Tensor x = at::randn({2, 3, 4, 3}, at::kDouble);
  EXPECT_LT(distance(nn::double_size(x, conv), conv->forward(x)), 1e-12);
  tests::expect_gradient(
      [&](const at::Tensor& t) { return nn::double_size(t, conv).square().sum(); }, x);
}

TEST(TokenPyramid, GivesFourLevelsOfAnyImage) {
  const at::NoGradGuard no_grad;
  for (const std::int64_t patch : {8, 14, 16, 32}) {
    torch::nn::Module owner;
    const nn::TokenPyramid pyramid(owner, 8, patch);
    for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{64, 96}, {65, 97}}) {
      const auto patches = [&](std::int64_t size) { return (size + patch - 1) / patch; };
      const std::vector<at::Tensor> maps(4, at::randn({2, 8, patches(height), patches(width)}));
      const auto levels = pyramid.forward(maps, height, width);
      for (std::size_t k = 0; k < 4; ++k) {
        const std::int64_t stride = nn::TokenPyramid::kStrides[k];
        EXPECT_EQ(levels[k].sizes(),
                  (std::vector<std::int64_t>{2, 8, (height + stride - 1) / stride,
                                             (width + stride - 1) / stride}))
            << patch << " level " << k;
      }
    }
  }
  torch::nn::Module owner;
  const nn::TokenPyramid pyramid(owner, 768, 16);
  std::int64_t count = 0;
  for (const at::Tensor& parameter : owner.parameters()) count += parameter.numel();
  EXPECT_EQ(count, 7087872);
  const auto names = parameter_names(owner);
  EXPECT_EQ(names, (std::vector<std::string>{
                       "fpn1.0.weight", "fpn1.0.bias", "fpn1.1.weight", "fpn1.1.bias",
                       "fpn1.2.weight", "fpn1.2.bias", "fpn1.4.weight", "fpn1.4.bias",
                       "fpn2.0.weight", "fpn2.0.bias", "fpn2.1.weight", "fpn2.1.bias",
                       "fpn3.weight", "fpn3.bias", "fpn4.0.weight", "fpn4.0.bias"}));
}

struct Positioned : torch::nn::Module, io::AdaptsWeights {
  Positioned() { embedding = register_parameter("pos_embed", at::zeros({1, 17, 2})); }
  at::Tensor adapt_weight(const std::string&, const at::Tensor& own,
                          const at::Tensor& loaded) const override {
    return nn::adapt_position_embedding(loaded, own, 1, nn::PositionResize::bilinear);
  }
  at::Tensor embedding;
};

TEST(PositionEmbedding, IsResizedAndKeepsItsPrefix) {
  const at::Tensor embedding = at::randn({1, 10, 2});  // a class token and 3 x 3
  EXPECT_TRUE(at::equal(
      nn::resize_position_embedding(embedding, 1, 3, 3, nn::PositionResize::bilinear), embedding));
  for (const auto mode : {nn::PositionResize::bilinear, nn::PositionResize::bicubic_antialias}) {
    const at::Tensor wide = nn::resize_position_embedding(embedding, 1, 4, 6, mode);
    EXPECT_EQ(wide.sizes(), (std::vector<std::int64_t>{1, 25, 2}));
    EXPECT_TRUE(at::equal(wide.narrow(1, 0, 1), embedding.narrow(1, 0, 1)));
  }
  // Twice the size, bilinear: quarters between neighbours.
  const at::Tensor ramp = at::arange(3, at::kFloat).repeat({3, 1}).reshape({9, 1});
  const at::Tensor twice =
      nn::resize_position_embedding(ramp, 0, 6, 6, nn::PositionResize::bilinear);
  const at::Tensor row = at::tensor({0.0F, 0.25F, 0.75F, 1.25F, 1.75F, 2.0F});
  EXPECT_LT(distance(twice.view({6, 6})[2], row), 1e-6);
}

TEST(PositionEmbedding, IsResizedWhenWeightsOfAnotherSizeAreLoaded) {
  Positioned module;
  const at::Tensor stored = at::randn({1, 10, 2}).to(at::kHalf);
  const io::LoadReport report = io::load_state(module, {{"pos_embed", stored}}, "file");
  ASSERT_EQ(report.adapted.size(), 1);
  EXPECT_EQ(report.adapted[0], "pos_embed: file [1, 10, 2], model [1, 17, 2]");
  EXPECT_TRUE(at::equal(
      module.embedding,
      nn::resize_position_embedding(stored.to(at::kFloat), 1, 4, 4, nn::PositionResize::bilinear)));
  EXPECT_THROW(io::load_state(module, {{"pos_embed", at::zeros({1, 9, 2})}}, "file"),
               io::WeightsError);
}

TEST(SqueezeExcite, WeighsChannels) {
  torch::nn::Conv2d reduce(torch::nn::Conv2dOptions(2, 1, 1)),
      expand(torch::nn::Conv2dOptions(1, 2, 1));
  const at::NoGradGuard no_grad;
  reduce->weight.fill_(1);
  reduce->bias.fill_(0);
  expand->weight.fill_(0.5);
  expand->bias.fill_(0);
  const at::Tensor x = at::ones({1, 2, 2, 2});  // means 1 and 1, reduced 2, expanded 1
  EXPECT_LT(distance(nn::squeeze_excite(x, reduce, expand, nn::Activation::relu(),
                                        nn::Gate::hard_sigmoid),
                     x * (4.0 / 6.0)),
            1e-6);
}

}  // namespace
}  // namespace strata
