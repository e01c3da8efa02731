// The shared blocks: hand-computed values, names, in-place safety, gradients by differences.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/drop_path.hpp"
#include "framework/nn/fold_cache.hpp"
#include "framework/nn/init.hpp"
#include "framework/nn/joined_conv.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/residual.hpp"
#include "framework/nn/resize.hpp"
#include "framework/nn/upsampled_conv.hpp"

namespace strata {
namespace {

std::vector<std::string> names_of(const torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& item : module.named_parameters()) names.push_back(item.key());
  return names;
}

/// Gradients of sum(w * f(x)) for x and every parameter, along a random direction, against central
/// differences in float64.
void expect_gradients(torch::nn::Module& module, at::Tensor x,
                      const std::function<at::Tensor(const at::Tensor&)>& forward) {
  for (at::Tensor& parameter : module.parameters())
    parameter.set_data(parameter.data().to(at::kDouble));
  for (at::Tensor& buffer : module.buffers()) {
    if (buffer.is_floating_point()) buffer.set_data(buffer.data().to(at::kDouble));
  }
  x.requires_grad_();
  std::vector<at::Tensor> leaves = module.parameters();
  leaves.push_back(x);
  at::Tensor weight;
  const auto loss = [&] {
    const at::Tensor y = forward(x);
    if (!weight.defined()) weight = at::randn_like(y);
    return (y * weight).sum();
  };
  loss().backward();
  const double step = 1e-6;
  double analytic = 0;
  std::vector<at::Tensor> directions;
  for (const at::Tensor& leaf : leaves) {
    directions.push_back(at::randn_like(leaf));
    ASSERT_TRUE(leaf.grad().defined());
    analytic += (leaf.grad() * directions.back()).sum().item<double>();
  }
  at::NoGradGuard no_grad;
  const auto move = [&](double by) {
    for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i].add_(directions[i], by);
  };
  move(step);
  const double above = loss().item<double>();
  move(-2 * step);
  const double below = loss().item<double>();
  EXPECT_NEAR(analytic, (above - below) / (2 * step), 1e-6 * (1 + std::abs(analytic)));
}

struct JoinedCase {
  std::vector<std::vector<std::int64_t>> maps;
  std::int64_t kernel, dilation;
  bool align_corners;
};

TEST(JoinedConv, EqualsTheConvolutionOfResizedMaps) {
  const std::vector<JoinedCase> cases = {
      {{{6, 16, 16}, {40, 8, 8}, {40, 4, 4}, {40, 2, 2}}, 3, 1, false},  // a pyramid
      {{{6, 13, 19}, {40, 7, 10}, {40, 4, 5}}, 3, 1, false},             // odd sizes
      {{{6, 13, 19}, {40, 7, 10}, {40, 4, 5}}, 3, 1, true},
      {{{6, 12, 9}, {5, 1, 1}, {5, 2, 2}, {5, 3, 3}, {5, 6, 6}}, 3, 1, false},  // pooled
      {{{6, 12, 9}, {5, 1, 1}, {5, 3, 3}}, 3, 2, true},
      {{{3, 12, 12}, {80, 6, 6}}, 5, 1, false},
      {{{3, 12, 12}, {80, 3, 3}}, 1, 1, false},
      {{{3, 8, 8}, {4, 16, 16}, {40, 4, 4}, {4, 8, 8}}, 3, 1, false}};  // finer, coarser, equal
  const auto double_type = at::TensorOptions(at::kDouble);
  for (std::size_t c = 0; c < cases.size(); ++c) {
    SCOPED_TRACE("case " + std::to_string(c));
    std::vector<at::Tensor> leaves;
    std::int64_t channels = 0;
    for (const auto& size : cases[c].maps) {
      leaves.push_back(at::randn({2, size[0], size[1], size[2]}, double_type));
      channels += size[0];
    }
    const std::size_t count = leaves.size();
    const std::int64_t kernel = cases[c].kernel, dilation = cases[c].dilation;
    leaves.push_back(at::randn({7, channels, kernel, kernel}, double_type));
    leaves.push_back(at::randn({7}, double_type));
    for (at::Tensor& leaf : leaves) leaf.requires_grad_();
    at::Tensor weights;
    const auto gradients = [&](const at::Tensor& y) {
      if (!weights.defined()) weights = at::randn(y.sizes(), double_type);
      (y * weights).sum().backward();
      std::vector<at::Tensor> grads;
      for (at::Tensor& leaf : leaves) {
        grads.push_back(leaf.grad().clone());
        leaf.mutable_grad().reset();
      }
      return grads;
    };
    const std::vector<at::Tensor> maps(leaves.begin(), leaves.begin() + count);
    const at::Tensor got =
        nn::joined_conv(maps, leaves[count], leaves[count + 1], dilation, cases[c].align_corners);
    const std::vector<at::Tensor> got_gradients = gradients(got);
    std::vector<at::Tensor> resized;
    for (const at::Tensor& map : maps) {
      resized.push_back(
          nn::resize_as(map, maps.front(), nn::ResizeMode::bilinear, cases[c].align_corners));
    }
    const at::Tensor expected = at::conv2d(at::cat(resized, 1), leaves[count], leaves[count + 1], 1,
                                           dilation * (kernel - 1) / 2, dilation);
    const std::vector<at::Tensor> expected_gradients = gradients(expected);
    EXPECT_LE((got - expected).abs().max().item<double>(), 1e-12 * channels);
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_LE((got_gradients[i] - expected_gradients[i]).abs().max().item<double>(),
                1e-12 * expected_gradients[i].abs().max().item<double>())
          << "gradient " << i;
    }
  }
}

TEST(UpsampledConv, EqualsTheConvolutionOfTheJoinedMaps) {
  const auto type = at::TensorOptions(at::kDouble);
  struct Case {
    std::int64_t height, width, skip_height, skip_width, skip;
    bool bias;
  };
  // Twice the size with and without skip and bias; one axis not the double; too few pixels.
  for (const auto& [h, w, height, width, skip, bias] :
       {Case{16, 24, 32, 48, 5, false}, Case{16, 24, 32, 48, 0, true}, Case{16, 24, 32, 48, 5, true},
        Case{17, 16, 33, 32, 5, true}, Case{3, 2, 6, 4, 5, false}}) {
    SCOPED_TRACE(std::to_string(height) + "x" + std::to_string(width));
    std::vector<at::Tensor> leaves{at::randn({2, 7, h, w}, type), at::randn({6, 7 + skip, 3, 3}, type)};
    if (skip > 0) leaves.push_back(at::randn({2, skip, height, width}, type));
    if (bias) leaves.push_back(at::randn({6}, type));
    for (at::Tensor& leaf : leaves) leaf.requires_grad_();
    const at::Tensor skip_map = skip > 0 ? leaves[2] : at::Tensor();
    const at::Tensor shift = bias ? leaves.back() : at::Tensor();
    const at::Tensor fine = nn::resize(leaves[0], height, width, nn::ResizeMode::nearest, false);
    const at::Tensor expected =
        at::conv2d(skip > 0 ? at::cat({fine, skip_map}, 1) : fine, leaves[1], shift, 1, 1);
    const at::Tensor got = nn::upsampled_conv(leaves[0], skip_map, leaves[1], shift);
    ASSERT_EQ(got.sizes(), expected.sizes());
    EXPECT_LE((got - expected).abs().max().item<double>(), 1e-12);
    const at::Tensor probe = at::randn(expected.sizes(), type);
    std::vector<std::vector<at::Tensor>> grads;
    for (const at::Tensor& y : {got, expected}) {
      (y * probe).sum().backward();
      grads.emplace_back();
      for (at::Tensor& leaf : leaves) {
        grads.back().push_back(leaf.grad().clone());
        leaf.mutable_grad().reset();
      }
    }
    for (std::size_t i = 0; i < leaves.size(); ++i) {
      EXPECT_LE((grads[0][i] - grads[1][i]).abs().max().item<double>(),
                1e-12 * grads[1][i].abs().max().item<double>())
          << "gradient " << i;
    }
  }
}

TEST(UpsampledConv, MovesNothingWhenTheBatchNormIsFoldedIn) {
  const auto block = std::make_shared<nn::ConvNorm>(nn::conv2d(12, 6, 3, {.padding = 1}),
                                                    nn::NormOptions{}, nn::Activation::relu());
  auto* norm = block->named_children()["1"]->as<torch::nn::BatchNorm2dImpl>();
  at::NoGradGuard no_grad;
  norm->running_mean.normal_();
  norm->running_var.uniform_(0.5, 2);
  norm->weight.normal_();
  norm->bias.normal_();
  block->to(at::kDouble);
  block->eval();
  const at::Tensor coarse = at::randn({1, 7, 24, 24}, at::kDouble);
  const at::Tensor skip = at::randn({1, 5, 48, 48}, at::kDouble);
  const at::Tensor fine = nn::resize_as(coarse, skip, nn::ResizeMode::nearest, false);
  const at::Tensor expected = block->forward(at::cat({fine, skip}, 1));
  EXPECT_LE((block->forward_upsampled(coarse, skip) - expected).abs().max().item<double>(), 1e-12);
}

TEST(Nn, ConvModuleNamesItsChildrenAsMmcv) {
  EXPECT_EQ(names_of(*nn::ConvModule({.in_channels = 2, .out_channels = 4})),
            (std::vector<std::string>{"conv.weight", "bn.weight", "bn.bias"}));
  EXPECT_EQ(names_of(*nn::ConvModule(
                {.in_channels = 2, .out_channels = 4, .norm = {.type = "GN", .groups = 2}})),
            (std::vector<std::string>{"conv.weight", "gn.weight", "gn.bias"}));
  EXPECT_EQ(
      names_of(*nn::ConvModule({.in_channels = 2, .out_channels = 4, .norm = {.type = "none"}})),
      (std::vector<std::string>{"conv.weight", "conv.bias"}));
}

TEST(Nn, ConvModuleComputesConvNormAct) {
  nn::ConvModule block({.in_channels = 1, .out_channels = 1, .kernel = 3});
  at::NoGradGuard no_grad;
  for (auto& item : block->named_parameters()) {
    if (item.key() == "conv.weight") item.value().fill_(1);
    if (item.key() == "bn.weight") item.value().fill_(2);
    if (item.key() == "bn.bias") item.value().fill_(-9);
  }
  block->eval();
  // Sums over the 3x3 neighbourhood of a 2x2 image of ones are 4; 2 * 4 / sqrt(1 + eps) - 9 < 0.
  const at::Tensor negative = block->forward(at::ones({1, 1, 2, 2}));
  EXPECT_EQ(negative.abs().max().item<float>(), 0);
  const at::Tensor positive = block->forward(at::full({1, 1, 2, 2}, 2.0));
  EXPECT_NEAR(positive.min().item<double>(), 16 / std::sqrt(1 + 1e-5) - 9, 1e-5);
}

TEST(Nn, EvaluationIsTheSameWithAndWithoutGradients) {
  for (const char* norm : {"BN", "GN", "none"}) {
    for (const auto& activation : {nn::Activation::relu(), nn::Activation::silu(),
                                   nn::Activation::leaky_relu(0.1), nn::Activation::none()}) {
      nn::ConvModule block({.in_channels = 4,
                            .out_channels = 8,
                            .kernel = 3,
                            .norm = {.type = norm, .groups = 4},
                            .activation = activation});
      for (at::Tensor& parameter : block->parameters()) {
        if (parameter.dim() == 1) nn::normal_(parameter, 1, 0.3);
      }
      block->forward(at::randn({4, 4, 9, 9}));  // moves the statistics
      block->eval();
      const at::Tensor x = at::randn({2, 4, 9, 7});
      const at::Tensor with = block->forward(x).detach();
      at::NoGradGuard no_grad;
      EXPECT_TRUE(at::allclose(block->forward(x), with, 1e-5, 1e-5)) << norm;
    }
  }
}

TEST(Nn, FoldedBatchNormsAreKeptWhileACacheIsInUse) {
  nn::ConvModule block({.in_channels = 4, .out_channels = 8, .kernel = 3, .norm = {.type = "BN"}});
  block->forward(at::randn({4, 4, 9, 9}));
  block->eval();
  const at::NoGradGuard no_grad;
  const at::Tensor x = at::randn({2, 4, 9, 7});
  const at::Tensor folded = block->forward(x);
  nn::FoldCache cache;
  const auto cached = [&] {
    const nn::FoldCache::Use use(&cache);
    return block->forward(x);
  };
  EXPECT_TRUE(at::equal(cached(), folded));
  for (at::Tensor& parameter : block->parameters()) parameter.mul_(2);
  EXPECT_TRUE(at::equal(cached(), folded));  // as promised to it, nothing has changed
  EXPECT_FALSE(at::equal(block->forward(x), folded));
  EXPECT_EQ(nn::FoldCache::current(), nullptr);
}

// Large kernels over few pixels are folded only when that is kept: the numbers are the same.
TEST(Nn, FoldsWhereItPays) {
  nn::ConvModule block({.in_channels = 32, .out_channels = 8, .kernel = 3, .norm = {.type = "BN"}});
  block->forward(at::randn({4, 32, 9, 9}));
  block->eval();
  const at::NoGradGuard no_grad;
  for (const std::int64_t size : {3, 40}) {  // 9 and 1600 pixels, 288 values a kernel
    const at::Tensor x = at::randn({1, 32, size, size});
    const at::Tensor plain = block->forward(x);
    nn::FoldCache cache;
    const nn::FoldCache::Use use(&cache);
    EXPECT_TRUE(at::allclose(block->forward(x), plain, 1e-5, 1e-5));
    EXPECT_EQ(at::equal(block->forward(x), plain), size == 40);  // the same way, or another one
  }
}

// LibTorch's own kernel writes outside of its memory here; see conv_module.cpp.
TEST(Nn, NarrowConvolutionsThatSkipPixelsTrain) {
  const auto block = std::make_shared<nn::ConvNorm>(nn::conv2d(8, 16, 1, {.stride = 2}),
                                                    nn::NormOptions{.type = "none"});
  at::Tensor x = at::randn({3, 8, 16, 16}).contiguous(at::MemoryFormat::ChannelsLast);
  x.set_requires_grad(true);
  at::Tensor weight = block->parameters().front();
  for (int i = 0; i < 50; ++i) {
    weight.mutable_grad() = at::Tensor();
    block->forward(x).sum().backward();
  }
  // Every output channel has the sum of every second pixel of every second row.
  const at::Tensor seen = x.detach().slice(2, 0, 16, 2).slice(3, 0, 16, 2).sum({0, 2, 3});
  EXPECT_TRUE(at::allclose(weight.grad().view({16, 8}), seen.expand({16, 8}), 1e-4, 1e-4));
}

TEST(Nn, ResizeIsAlignedAsAsked) {
  const at::Tensor x = at::tensor({0.0, 1.0}).view({1, 1, 1, 2});
  EXPECT_TRUE(at::allclose(nn::resize(x, 1, 4).view(-1), at::tensor({0.0, 0.25, 0.75, 1.0})));
  EXPECT_TRUE(at::allclose(nn::resize(x, 1, 3, nn::ResizeMode::bilinear, true).view(-1),
                           at::tensor({0.0, 0.5, 1.0})));
  EXPECT_TRUE(at::allclose(nn::resize(x, 1, 4, nn::ResizeMode::nearest).view(-1),
                           at::tensor({0.0, 0.0, 1.0, 1.0})));
  EXPECT_TRUE(nn::resize(x, 1, 2).is_same(x));
  const at::Tensor last = at::rand({1, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(nn::resize(last, 8, 8).is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(Nn, DropPathDropsWholeSamples) {
  nn::DropPath drop(0.25);
  at::manual_seed(1);
  const at::Tensor y = drop.forward(at::ones({4000, 2, 3}));
  const at::Tensor first = y.select(1, 0).select(1, 0);
  EXPECT_TRUE(at::equal(y, first.view({-1, 1, 1}).expand_as(y)));
  EXPECT_TRUE(((first == 0) | (first == 1 / 0.75)).all().item<bool>());
  EXPECT_NEAR((first == 0).to(at::kDouble).mean().item<double>(), 0.25, 0.03);
  drop.eval();
  const at::Tensor x = at::ones({2, 2});
  EXPECT_TRUE(drop.forward(x).is_same(x));
}

TEST(Nn, InitialValuesHaveTheirVariance) {
  at::manual_seed(3);
  const at::Tensor weight = at::empty({256, 64, 3, 3});
  nn::kaiming_normal_(weight);
  EXPECT_NEAR(weight.var().item<double>(), 2.0 / (256 * 9), 2e-5);
  nn::kaiming_normal_(weight, nn::Fan::in);
  EXPECT_NEAR(weight.var().item<double>(), 2.0 / (64 * 9), 5e-5);
  nn::default_uniform_(weight);
  EXPECT_LE(weight.abs().max().item<double>(), 1 / std::sqrt(64 * 9));
  EXPECT_NEAR(weight.var().item<double>(), 1.0 / (3 * 64 * 9), 1e-5);
  nn::xavier_uniform_(weight);
  EXPECT_NEAR(weight.var().item<double>(), 2.0 / ((64 + 256) * 9), 1e-5);
  nn::truncated_normal_(weight, 1.0);
  EXPECT_LE(weight.abs().max().item<double>(), 2.0);
  EXPECT_NEAR(weight.std().item<double>(), 0.8796, 0.01);  // of a normal cut at two deviations
}

TEST(Nn, LayerListKeepsTheNumbersOfMissingEntries) {
  nn::LayerList<torch::nn::Module> list;
  list.skip();
  list.add(nn::conv2d(1, 1, 1).ptr());
  EXPECT_EQ(names_of(list), (std::vector<std::string>{"1.weight"}));
  EXPECT_EQ(list[0], nullptr);
  EXPECT_EQ(list.size(), 2);
}

TEST(Nn, ResidualBlocksHaveTheRightGradients) {
  at::manual_seed(5);
  nn::BasicBlock same({.in_channels = 3, .planes = 3});
  nn::BasicBlock strided({.in_channels = 3, .planes = 4, .stride = 2, .dilation = 2});
  nn::Bottleneck wide({.in_channels = 3, .planes = 2, .stride = 2, .groups = 2, .width = 4});
  nn::Bottleneck pooled({.in_channels = 3, .planes = 2, .stride = 2, .avg_down = true});
  for (nn::ResidualBlock* block :
       std::initializer_list<nn::ResidualBlock*>{&same, &strided, &wide, &pooled}) {
    for (const bool training : {true, false}) {
      for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
        block->zero_grad();
        block->train(training);
        expect_gradients(*block, at::randn({2, 3, 5, 7}, at::kDouble).contiguous(format),
                         [&](const at::Tensor& x) { return block->forward(x); });
      }
    }
  }
}

TEST(Nn, ResidualBlocksLeaveTheirInputAlone) {
  nn::BasicBlock block({.in_channels = 3, .planes = 3});
  block.eval();
  const at::Tensor x = at::randn({1, 3, 4, 4});
  const at::Tensor before = x.clone();
  block.forward(x);
  {
    at::NoGradGuard no_grad;
    block.forward(x);
  }
  EXPECT_TRUE(at::equal(x, before));
}

}  // namespace
}  // namespace strata
