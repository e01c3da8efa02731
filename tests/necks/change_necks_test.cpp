// CFC, SimpleCFC and DFC against references written from the formulas, and what they refuse.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "necks/neck.hpp"
#include "tests/support/build.hpp"
#include "tests/support/parity.hpp"

namespace strata::tests {
namespace {

FeatureSpec dated(const std::vector<std::int64_t>& channels, std::int64_t text) {
  FeatureSpec spec = levels_of(channels, 2);
  if (text > 0) spec.extras["text"] = text;
  return spec;
}

class ChangeNeckParity : public testing::TestWithParam<std::string> {};

TEST_P(ChangeNeckParity, MatchesTheFormula) {
  parity::check_component(GetParam(), [](const parity::Case& fixture) {
    const bool with_text = fixture.inputs.contains("in.4");
    const Slot<Neck> slot = bind_slot<Neck>(fixture.strata, "model.neck");
    const FeatureSpec input = dated({fixture.inputs.at("in.0")[1], fixture.inputs.at("in.1")[1]},
                                    with_text ? fixture.inputs.at("in.4").back() : 0);
    const auto neck = slot.build({input});
    const FeatureSpec promised = slot.ask(&Neck::Statics::output, input);
    parity::Forward forward = [neck, promised, with_text](const std::vector<at::Tensor>& in) {
      DateFeatures dates = {{{in[0], in[1]}, {}}, {{in[2], in[3]}, {}}};
      if (with_text) {
        for (std::size_t d = 0; d < 2; ++d) dates[d].extras["text"] = in[4 + d].squeeze(2);
      }
      const DateFeatures fused = neck->forward(dates);
      EXPECT_EQ(fused.size(), 1U);
      EXPECT_EQ(fused.front().extras.size(), promised.extras.size());
      if (with_text) {
        EXPECT_TRUE(at::equal(fused.front().extras.at("text.1"), in[5].squeeze(2)));
      }
      TensorMap named;
      for (std::size_t i = 0; i < promised.levels.size(); ++i) {
        named.emplace_back("feat." + std::to_string(i), fused.front().levels.at(i));
        EXPECT_EQ(fused.front().levels[i].size(1), promised.levels[i].channels);
      }
      return named;
    };
    return std::pair<std::shared_ptr<torch::nn::Module>, parity::Forward>(neck, forward);
  });
}

INSTANTIATE_TEST_SUITE_P(Cases, ChangeNeckParity,
                         testing::ValuesIn(parity::case_names("change_neck")),
                         [](const auto& test) { return test.param; });

std::int64_t count(const std::string& toml, const FeatureSpec& input) {
  const auto neck = bind_slot<Neck>("neck = " + toml + "\n", "neck").build({input});
  std::int64_t sum = 0;
  for (const auto& parameter : neck->parameters()) sum += parameter.numel();
  return sum;
}

TEST(ChangeNecks, HaveThePublishedSizes) {
  const FeatureSpec resnet = dated({256, 512, 1024, 2048}, 1024);
  EXPECT_EQ(count("{type = \"CFC\"}", resnet), 39335168);
  EXPECT_EQ(count("{type = \"CFC\", reduce_to = 256}", resnet), 10490880 + 984064);
  EXPECT_EQ(count("{type = \"CFC\"}", dated({768, 768, 768, 768}, 512)), 29895680);
  // Of ChangeCLIP all that is neither tower nor decoder: 117,540,238 and 170,746,670 in all.
  EXPECT_EQ(count("{type = \"DFC\"}", dated({256, 512, 1024, 2050}, 1024)), 6398656);
  EXPECT_EQ(count("{type = \"DFC\"}", dated({768, 768, 770, 768}, 512)), 5808832);
}

TEST(ChangeNecks, SayWhatDoesNotFit) {
  const auto error_of = [](const std::string& toml, const FeatureSpec& input) {
    return message_of([&] {
      bind_slot<Neck>("neck = " + toml + "\n", "neck").ask(&Neck::Statics::output, input);
    });
  };
  EXPECT_EQ(error_of("{type = \"CFC\"}", dated({8, 16}, 0)),
            "test.toml:1:8: neck: relates images to texts, and there are none in front of it; use "
            "the VLCD segmentor, or SimpleCFC");
  EXPECT_EQ(
      error_of("{type = \"CFC\", text_dim = 9}", dated({8, 16}, 10)),
      "test.toml:1:34: neck.text_dim: the texts in front have 10, got 9; leave it out to have "
      "it derived");
  EXPECT_EQ(error_of("{type = \"SimpleCFC\"}", levels_of({8, 16})),
            "test.toml:1:8: neck: compares two dates, got features of 1");
  EXPECT_EQ(
      error_of("{type = \"DFC\", fpn = {num_outs = 3}}", dated({8, 16}, 0)),
      "test.toml:1:41: neck.fpn.num_outs: the pyramid must give the 2 levels in front, got 3; "
      "leave it out");
}

DateFeatures two_dates(const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second) {
  return {{first, {}}, {second, {}}};
}

TEST(TemporalSymmetricTransformer, IsBlindToTheOrderOfTheDatesUnlessItFusesNothing) {
  const std::vector<at::Tensor> a = {at::randn({2, 6, 9, 8}), at::randn({2, 10, 5, 4})};
  const std::vector<at::Tensor> b = {at::randn({2, 6, 9, 8}), at::randn({2, 10, 5, 4})};
  for (const std::string type : {"conv3d", "conv1plus2d"}) {
    for (const std::string fusion : {"add", "mul", "none"}) {
      SCOPED_TRACE(type + " " + fusion);
      const auto neck = bind_slot<Neck>("neck = {type = \"TemporalSymmetricTransformer\", "
                                        "interaction_type = \"" + type +
                                            "\", symmetric_fusion = \"" + fusion + "\"}\n",
                                        "neck")
                            .build({levels_of({6, 10}, 2)});
      for (const bool training : {true, false}) {
        neck->train(training);
        const DateFeatures one = neck->forward(two_dates(a, b));
        const DateFeatures other = neck->forward(two_dates(b, a));
        ASSERT_EQ(one.size(), 1U);
        for (std::size_t i = 0; i < 2; ++i) {
          EXPECT_EQ(one[0].levels[i].sizes(), a[i].sizes());
          EXPECT_EQ(at::equal(one[0].levels[i], other[0].levels[i]), fusion != "none");
        }
      }
    }
  }
}

TEST(TemporalSymmetricTransformer, IsTwoSlicesOfAConvolution) {
  const auto neck = bind_slot<Neck>("neck = {type = \"TemporalSymmetricTransformer\", "
                                    "dilation = 2, norm = \"none\", symmetric_fusion = \"none\"}\n",
                                    "neck")
                        .build({levels_of({6}, 2)});
  neck->to(at::kDouble);
  const at::Tensor weight = neck->named_parameters()["t.0.0.weight"];
  EXPECT_EQ(weight.sizes(), (at::IntArrayRef{6, 6, 2, 3, 3}));
  const at::Tensor a = at::randn({2, 6, 9, 8}, at::kDouble), b = at::randn({2, 6, 9, 8}, at::kDouble);
  const at::Tensor want = at::relu(at::conv3d(at::stack({a, b}, 2), weight, {}, 1,
                                              at::IntArrayRef{0, 2, 2}, at::IntArrayRef{1, 2, 2})
                                       .squeeze(2));
  const at::Tensor got = neck->forward(two_dates({a}, {b}))[0].levels[0];
  EXPECT_LE((got - want).abs().max().item<double>(), 1e-12);
}

TEST(TemporalSymmetricTransformer, HoldsWeightsForImagesThatItDoesNotUse) {
  const auto neck = bind_slot<Neck>(
                        "neck = {type = \"TemporalSymmetricTransformer\", image_channels = 3}\n", "neck")
                        .build({levels_of({6}, 2)});
  std::int64_t unused = 0;
  for (const auto& item : neck->named_parameters()) {
    EXPECT_EQ(item.value().requires_grad(), !item.key().starts_with("t.0.")) << item.key();
    if (!item.value().requires_grad()) unused += item.value().numel();
  }
  EXPECT_EQ(unused, 168);
  const at::Tensor x = at::randn({1, 6, 4, 4});
  EXPECT_EQ(neck->forward(two_dates({x}, {x}))[0].levels.size(), 1U);
}

TEST(TemporalSymmetricTransformer, SaysWhatDoesNotFit) {
  const auto error_of = [](const std::string& more, const FeatureSpec& input) {
    return message_of([&] {
      bind_slot<Neck>("neck = {type = \"TemporalSymmetricTransformer\"" + more + "}\n", "neck")
          .ask(&Neck::Statics::output, input);
    });
  };
  EXPECT_EQ(error_of("", levels_of({8}, 3)),
            "test.toml:1:8: neck: compares two dates, got features of 3");
  EXPECT_EQ(error_of(", kernel_size = 4", levels_of({8}, 2)),
            "test.toml:1:62: neck.kernel_size: must be odd to keep the size, got 4");
}

// What is said of a date survives the fusion under the date's number.
TEST(SiameseFusion, KeepsWhatIsSaidOfDates) {
  const Slot<Neck> slot = bind_slot<Neck>("neck = {type = \"SiameseFusion\"}\n", "neck");
  const FeatureSpec input = dated({3}, 7);
  EXPECT_EQ(slot.ask(&Neck::Statics::output, input).extras,
            (std::map<std::string, std::int64_t>{{"text.0", 7}, {"text.1", 7}}));
  const at::Tensor a = at::randn({1, 2, 7}), b = at::randn({1, 2, 7}),
                   map = at::randn({1, 3, 4, 4});
  const auto fused = slot.build({input})->forward({{{map}, {{"text", a}}}, {{map}, {{"text", b}}}});
  EXPECT_TRUE(at::equal(fused.front().extras.at("text.0"), a));
  EXPECT_TRUE(at::equal(fused.front().extras.at("text.1"), b));
}

}  // namespace
}  // namespace strata::tests
