// Bridges and context decoders against references written from the formulas.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "modules/bridge.hpp"
#include "modules/context_decoder.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

using Made = std::pair<std::shared_ptr<torch::nn::Module>, parity::Forward>;

class BridgeParity : public testing::TestWithParam<std::string> {};

TEST_P(BridgeParity, MatchesTheFormula) {
  parity::check_component(GetParam(), [](const parity::Case& fixture) {
    const auto& given = fixture.inputs.at("in.0");
    const auto& side = fixture.inputs.at("in.1");
    const auto bridge =
        bind_slot<Bridge>(fixture.strata, "bridge").build({{"0", given[1], 16}, {"0", side[1], 4}});
    return Made(bridge, [bridge](const std::vector<at::Tensor>& in) {
      return TensorMap{{"feat.0", bridge->forward(in[0], in[1])}};
    });
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, BridgeParity, testing::ValuesIn(parity::case_names("bridge")),
                         [](const auto& test) { return test.param; });

TEST(ContextDecoder, MatchesDenseClips) {
  parity::check_component("context_decoder", [](const parity::Case& fixture) {
    const auto decoder = bind_slot<ContextDecoder>(fixture.strata, "context_decoder")
                             .build({fixture.inputs.at("in.0").back()});
    return Made(decoder, [decoder](const std::vector<at::Tensor>& in) {
      return TensorMap{{"feat.0", decoder->forward(in[0].squeeze(2), in[1].squeeze(2))}};
    });
  });
}

TEST(ContextDecoder, HasThePublishedSize) {
  const auto count = [](std::int64_t width) {
    const auto decoder =
        bind_slot<ContextDecoder>("[c]\ntype = \"ContextDecoder\"\nlayers = 3\n", "c")
            .build({width});
    std::int64_t sum = 0;
    for (const auto& parameter : decoder->parameters()) sum += parameter.numel();
    return sum;
  };
  EXPECT_EQ(count(1024), 3948800);
  EXPECT_EQ(count(512), 3553024);
}

std::string error_of_bridge(const std::string& toml, std::int64_t channels) {
  return message_of([&] {
    bind_slot<Bridge>("bridge = " + toml + "\n", "bridge")
        .ask(&Bridge::Statics::check, Bridge::Context{{"0", 12, 16}, {"0", channels, 4}});
  });
}

TEST(Bridges, FitAnyWidth) {
  // HRNet's 18 channels are no multiple of eight heads, of 64 neither.
  for (const char* type : {"dot", "mha", "ban"}) {
    SCOPED_TRACE(type);
    const auto bridge =
        bind_slot<Bridge>("bridge = {type = \"" + std::string(type) + "\"}\n", "bridge")
            .build({{"0", 12, 16}, {"0", 18, 4}});
    const at::Tensor side = at::randn({1, 18, 7, 5}).requires_grad_();
    const at::Tensor fused = bridge->forward(at::randn({1, 12, 2, 2}), side);
    EXPECT_EQ(fused.sizes(), side.sizes());
    fused.square().sum().backward();
    EXPECT_TRUE(side.grad().defined());
    for (const auto& item : bridge->named_parameters()) {
      EXPECT_TRUE(item.value().grad().defined()) << item.key();
    }
  }
}

// Behind a frozen model the norm goes into the projection: neither result nor gradient changes.
TEST(Bridges, LearnTheSameFromAFrozenModel) {
  const auto bridge = bind_slot<Bridge>("bridge = {type = \"BridgingModule\"}\n", "bridge")
                          .build({{"0", 12, 16}, {"0", 6, 4}});
  bridge->to(at::kDouble);
  for (at::Tensor& parameter : bridge->parameters()) parameter.detach().normal_();
  const at::Tensor side = at::randn({2, 6, 5, 4}, at::kDouble);
  at::Tensor given = at::randn({2, 12, 3, 3}, at::kDouble);
  std::vector<std::vector<at::Tensor>> outcomes;
  for (const bool frozen : {true, false}) {
    given = given.detach().set_requires_grad(!frozen);
    bridge->zero_grad();
    const at::Tensor fused = bridge->forward(given, side);
    fused.square().sum().backward();
    std::vector<at::Tensor> outcome = {fused.detach()};
    for (const at::Tensor& parameter : bridge->parameters()) {
      outcome.push_back(parameter.grad().clone());
    }
    outcomes.push_back(std::move(outcome));
  }
  for (std::size_t i = 0; i < outcomes[0].size(); ++i) {
    EXPECT_TRUE(at::allclose(outcomes[0][i], outcomes[1][i], 1e-10, 1e-12)) << i;
  }
}

TEST(Bridges, SayWhatDoesNotFit) {
  EXPECT_EQ(error_of_bridge("{type = \"mha\", heads = 4, width = 30}", 18),
            "test.toml:1:44: bridge.width: must be a multiple of the 4 heads, got 30");
  EXPECT_EQ(error_of_bridge("{type = \"ban\", heads = 4}", 18),
            "test.toml:1:33: bridge.heads: must divide the side's 18 channels, got 4");
}

}  // namespace
}  // namespace strata::tests
