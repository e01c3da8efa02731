#include "framework/io/weights.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

struct Net : torch::nn::Module {
  Net() {
    conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3)));
    bn = register_module("bn", torch::nn::BatchNorm2d(4));
  }
  torch::nn::Conv2d conv{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};
};

TensorMap copy_of(const torch::nn::Module& module) {
  TensorMap copies;
  for (const auto& [name, tensor] : state_of(module)) {
    copies.emplace_back(name, at::randn(tensor.sizes()).to(tensor.scalar_type()));
  }
  return copies;
}

TEST(LoadState, CopiesByNameAndKeepsStrides) {
  Net net;
  {
    at::NoGradGuard no_grad;
    net.conv->weight.set_data(net.conv->weight.contiguous(at::MemoryFormat::ChannelsLast));
  }
  TensorMap given = copy_of(net);
  std::reverse(given.begin(), given.end());  // order is not meaning
  const LoadReport report = load_state(net, given, "w.safetensors");
  EXPECT_TRUE(report.complete());
  EXPECT_EQ(report.matched.size(), 7u);
  EXPECT_TRUE(at::equal(net.conv->weight, get(given, "conv.weight")));
  EXPECT_TRUE(net.conv->weight.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(LoadState, StrictAndNothingCopiedWhenItFails) {
  Net net;
  const at::Tensor before = net.bn->weight.detach().clone();
  TensorMap given = copy_of(net);
  for (auto& [name, tensor] : given) {
    if (name == "conv.weight") name = "conv.wieght";
    if (name == "conv.bias") tensor = at::zeros({5});
  }
  try {
    load_state(net, given, "w.safetensors");
    FAIL() << "loaded";
  } catch (const CheckpointError& error) {
    EXPECT_STREQ(error.what(),
                 "w.safetensors: the weights do not fit the model: 5 tensors match\n"
                 "  1 missing in the file:\n"
                 "    conv.weight; did you mean \"conv.wieght\"?\n"
                 "  1 unexpected in the file:\n"
                 "    conv.wieght; did you mean \"conv.weight\"?\n"
                 "  1 of another shape:\n"
                 "    conv.bias: file [5], model [4]");
  }
  EXPECT_TRUE(at::equal(net.bn->weight, before));
}

TEST(LoadState, AllowsByGlobAndReportsIt) {
  Net net;
  TensorMap given = copy_of(net);
  given.erase(given.begin());  // conv.weight
  const LoadReport report = load_state(net, given, "w", {.allow = {"conv.*"}});
  EXPECT_EQ(report.missing, std::vector<std::string>{"conv.weight"});
  EXPECT_THROW(load_state(net, given, "w", {.allow = {"bn.*"}}), CheckpointError);
}

TEST(LoadState, LeavesAloneWhatIsToStayFresh) {
  Net net;
  const at::Tensor before = net.conv->weight.detach().clone();
  TensorMap given = copy_of(net);
  for (auto& [name, tensor] : given) {
    if (name == "conv.weight") tensor = at::zeros({7});
  }
  given.emplace_back("conv.extra", at::zeros({1}));
  const LoadReport report = load_state(net, given, "w", {.reinit = {"conv"}});
  EXPECT_EQ(report.fresh, (std::vector<std::string>{"conv.weight", "conv.bias"}));
  EXPECT_TRUE(at::equal(net.conv->weight, before));
  EXPECT_TRUE(at::equal(net.bn->weight, get(given, "bn.weight")));
}

TEST(LoadState, LoadsAPart) {
  Net net;
  const at::Tensor before = net.conv->weight.detach().clone();
  const TensorMap given{{"weight", at::rand({4})},
                        {"bias", at::rand({4})},
                        {"running_mean", at::rand({4})},
                        {"running_var", at::rand({4})}};
  EXPECT_EQ(load_state(net, given, "w", {.part = "bn"}).matched.size(), 4u);
  EXPECT_TRUE(at::equal(net.bn->bias, get(given, "bias")));
  EXPECT_TRUE(at::equal(net.conv->weight, before));
}

// By hand: 1 + 2 + 4 for one channel; for five 1, 2, 4, 1, 2 times 3 / 5.
TEST(LoadState, AdaptsTheFirstConvolution) {
  const TensorMap given{
      {"weight", at::tensor({1.0F, 2.0F, 4.0F}).view({1, 3, 1, 1})}, {"bias", at::zeros({1})}};
  const auto adapted = [&](std::int64_t channels) {
    torch::nn::Conv2d conv(torch::nn::Conv2dOptions(channels, 1, 1));
    EXPECT_THROW(load_state(*conv, given, "w"), WeightsError);
    const LoadReport report = load_state(*conv, given, "w", {.adapt_input = true});
    EXPECT_EQ(report.adapted.size(), 1u);
    return conv->weight.flatten();
  };
  EXPECT_TRUE(at::allclose(adapted(1), at::tensor({7.0F})));
  EXPECT_TRUE(at::allclose(adapted(2), at::tensor({1.5F, 3.0F})));
  EXPECT_TRUE(at::allclose(adapted(5), at::tensor({0.6F, 1.2F, 2.4F, 0.6F, 1.2F})));
}

TEST(LoadState, OldFilesMayLackBatchCounters) {
  Net net;
  TensorMap given;
  for (auto& item : copy_of(net)) {
    if (item.first != "bn.num_batches_tracked") given.push_back(item);
  }
  EXPECT_TRUE(load_state(net, given, "w").complete());
}

}  // namespace
}  // namespace strata::io
