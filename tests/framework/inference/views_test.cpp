// Views: each is undone, merged by kind, and the dates come back.
#include "framework/inference/views.hpp"

#include <gtest/gtest.h>

#include "framework/base/error.hpp"
#include "framework/inference/predictor.hpp"
#include "tests/framework/inference/stub_model.hpp"

namespace strata::tests {
namespace {

using inference::pose_of;
using inference::posed;
using inference::Predictor;
using inference::unposed;
using inference::with_views;

const std::vector<std::string> kAllPoses = {"identity", "horizontal", "vertical",  "rot90",
                                            "rot180",   "rot270",     "transpose", "antitranspose"};

LabelSpecs pair_labels() {
  config::Named<LabelSpec> named;
  for (const auto& [name, role, date] :
       {std::tuple{"before", "semantic", 0}, std::tuple{"after", "semantic", 1},
        std::tuple{"change", "change", 0}}) {
    LabelSpec label;
    label.classes = {"a", "b"};
    label.role = role;
    label.date = date;
    named.emplace_back(name, label);
  }
  return LabelSpecs(named);
}

TtaOptions views(std::vector<std::string> names, std::vector<double> scales = {1.0}) {
  TtaOptions options;
  options.enabled = true;
  options.views = std::move(names);
  options.scales = std::move(scales);
  return options;
}

TEST(Poses, AreWhatTheirNamesSay) {
  const at::Tensor x = at::tensor({1, 2, 3, 4, 5, 6}).reshape({2, 3});
  auto rows = [](std::vector<std::int64_t> values, std::int64_t height) {
    return at::tensor(values).reshape({height, -1});
  };
  EXPECT_TRUE(at::equal(posed(x, pose_of("horizontal")), rows({3, 2, 1, 6, 5, 4}, 2)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("vertical")), rows({4, 5, 6, 1, 2, 3}, 2)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("rot180")), rows({6, 5, 4, 3, 2, 1}, 2)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("rot90")), rows({3, 6, 2, 5, 1, 4}, 3)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("rot270")), rows({4, 1, 5, 2, 6, 3}, 3)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("transpose")), rows({1, 4, 2, 5, 3, 6}, 3)));
  EXPECT_TRUE(at::equal(posed(x, pose_of("antitranspose")), rows({6, 3, 5, 2, 4, 1}, 3)));
}

TEST(Poses, AreUndoneOnAnIndexRamp) {
  const at::Tensor x = ramp(2, 3, 5, 7);
  for (const std::string& name : kAllPoses) {
    EXPECT_TRUE(at::equal(unposed(posed(x, pose_of(name)), pose_of(name)), x)) << name;
  }
}

// A model without any sense of direction: all views agree, and so does their mean.
TEST(Views, OfAPointwiseModelAgree) {
  const at::Tensor x = ramp(2, 3, 5, 7) / 100;
  auto model = [](const Batch& batch) -> Outputs {
    const at::Tensor& image = batch.images.front();
    return {{"probability", output_of(at::sigmoid(image), Output::Kind::probability)},
            {"value", output_of(image * 2, Output::Kind::value)},
            {"label", output_of(image.argmax(1), Output::Kind::label)}};
  };
  const Outputs outputs = with_views(views(kAllPoses), {}, 100, batch_of({x}), model);
  const Outputs plain = model(batch_of({x}));
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_LE((outputs[i].second.data - plain[i].second.data).abs().max().item<double>(), 1e-6);
    EXPECT_EQ(outputs[i].second.data.sizes(), plain[i].second.data.sizes());
  }
}

// The six views of SenseEarth: a model that marks the top left corner of what it sees.
TEST(Views, OfSenseEarthLandWhereTheyBelong) {
  auto model = [](const Batch& batch) -> Outputs {
    at::Tensor mark = at::zeros_like(batch.images.front());
    mark.select(2, 0).select(2, 0).fill_(1);
    return {{"p", output_of(mark, Output::Kind::probability)}};
  };
  const TtaOptions six = views({"identity", "vertical", "horizontal", "rot270", "rot90", "rot180"});
  const Outputs outputs = with_views(six, {}, 100, batch_of({at::zeros({1, 1, 3, 4})}), model);
  at::Tensor expected = at::zeros({3, 4});
  // identity; vertical; horizontal; rot90's corner was the top right, rot270's the bottom left, and
  // rot180's the bottom right one.
  expected[0][0] += 1;
  expected[2][0] += 1;
  expected[0][3] += 1;
  expected[0][3] += 1;
  expected[2][0] += 1;
  expected[2][3] += 1;
  EXPECT_LE((outputs[0].second.data[0][0] - expected / 6).abs().max().item<double>(), 1e-7)
      << outputs[0].second.data;
}

TEST(Views, AverageLogitsAsProbabilities) {
  // Mirrored, the logit of class 1 is 2 instead of 0.
  auto model = [](const Batch& batch) -> Outputs {
    const bool mirrored = batch.images.front()[0][0][0][0].item<double>() == 1;
    at::Tensor logits = at::zeros({1, 2, 1, 2});
    logits.select(1, 1).fill_(mirrored ? 2.0 : 0.0);
    return {{"logits", output_of(logits, Output::Kind::logits)}};
  };
  const Batch batch = batch_of({at::tensor({0.F, 1.F}).reshape({1, 1, 1, 2})});
  const Outputs outputs = with_views(views({"identity", "horizontal"}), {}, 1, batch, model);
  EXPECT_EQ(outputs[0].second.kind, Output::Kind::probability);
  const double second = (0.5 + 1 / (1 + std::exp(-2.0))) / 2;
  EXPECT_NEAR(outputs[0].second.data[0][1][0][0].item<double>(), second, 1e-7);
  EXPECT_NEAR(outputs[0].second.data.sum(1)[0][0][1].item<double>(), 1, 1e-6);
}

TEST(Views, OfOtherSizesComeBackAtTheSizeOfThePicture) {
  auto model = std::make_shared<StubModel>([](const std::vector<at::Tensor>& images) -> Outputs {
    return {{"value", output_of(at::full_like(images[0], static_cast<double>(images[0].size(3))),
                                Output::Kind::value)},
            {"label", output_of(images[0].select(1, 0).to(at::kLong), Output::Kind::label)}};
  });
  const Predictor predictor({{model, {}, views({"identity"}, {0.5, 1.0, 2.0}), {}}}, {});
  const Outputs outputs = predictor.predict(batch_of({at::full({1, 1, 6, 7}, 3, at::kByte)}));
  // Widths 4 (3.5 rounded up), 7 and 14.
  EXPECT_TRUE(at::allclose(outputs[0].second.data, at::full({1, 1, 6, 7}, 25.0 / 3)));
  EXPECT_TRUE(at::equal(outputs[1].second.data, at::full({1, 6, 7}, 3, at::kLong)));
}

TEST(Views, OfOneSizeAreComputedTogether) {
  auto model = std::make_shared<StubModel>([](const std::vector<at::Tensor>& images) -> Outputs {
    return {{"value", output_of(images[0], Output::Kind::value)}};
  });
  InferenceOptions inference;
  inference.window_batch = 8;
  const Predictor predictor({{model, inference, views(kAllPoses), {}}}, {});
  const at::Tensor x = ramp(1, 1, 3, 4);
  EXPECT_TRUE(at::equal(predictor.predict(batch_of({x}))[0].second.data, x));
  EXPECT_EQ(model->calls, 2);  // upright and turned by a quarter
  EXPECT_EQ(model->largest, 4);
}

TEST(Views, GiveExchangedDatesBack) {
  // Semantic maps repeat their date's image, change is the first image minus the second.
  auto model = [](const Batch& batch) -> Outputs {
    const at::Tensor &a = batch.images[0], &b = batch.images[1];
    for (std::int64_t n = 0; n < batch.size(); ++n) {  // tags follow their date
      const std::string first = batch.images[0][n].max().item<double>() > 0 ? "a" : "b";
      EXPECT_EQ(batch.meta[static_cast<std::size_t>(n)].tags[0], std::vector{first});
    }
    return {{"before", output_of(a, Output::Kind::value, "before")},
            {"after", output_of(b, Output::Kind::value, "after")},
            {"change", output_of(a - b, Output::Kind::value, "change")}};
  };
  TtaOptions options = views({"identity", "vertical"});
  options.exchange_dates = true;
  const at::Tensor a = ramp(1, 2, 3, 4), b = -a.flip({3}) * 3;
  Batch batch = batch_of({a, b});
  batch.meta[0].tags = {{"a"}, {"b"}};
  const Outputs outputs = with_views(options, pair_labels(), 2, batch, model);
  EXPECT_TRUE(at::equal(outputs[0].second.data, a));
  EXPECT_TRUE(at::equal(outputs[1].second.data, b));
  EXPECT_EQ(outputs[2].second.data.abs().max().item<double>(), 0);
}

TEST(Views, RefuseExchangedDatesWithoutACounterpart) {
  auto model = [](const Batch& batch) -> Outputs {
    return {{"after", output_of(batch.images[1], Output::Kind::value, "after")}};
  };
  TtaOptions options = views({"identity"});
  options.exchange_dates = true;
  const at::Tensor a = ramp(1, 1, 2, 2);
  try {
    with_views(options, pair_labels(), 2, batch_of({a, a}), model);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_EQ(std::string(error.what()),
              "evaluate.tta.exchange_dates: label \"after\" describes date 1, and nothing with its "
              "classes date 0; switch it off for this model");
  }
}

TEST(Ensemble, AveragesProbabilitiesByTarget) {
  auto model = [](double logit, std::string name, Output::Kind kind) {
    return std::make_shared<StubModel>([=](const std::vector<at::Tensor>& images) -> Outputs {
      const at::Tensor zero = at::zeros_like(images[0]);
      return {{name, output_of(at::cat({zero, zero + logit}, 1), kind, "change")}};
    });
  };
  const Predictor predictor({{model(1.0, "logits", Output::Kind::logits), {}, {}, {}},
                             {model(0.25, "p", Output::Kind::probability), {}, {}, {}}},
                            pair_labels());
  const Outputs outputs = predictor.predict(batch_of({ramp(1, 1, 2, 2)}));
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs[0].first, "logits");
  const double expected = (1 / (1 + std::exp(-1.0)) + 0.25) / 2;
  EXPECT_NEAR(outputs[0].second.data[0][1][0][0].item<double>(), expected, 1e-7);
}

TEST(Ensemble, VotesForLabelsAndRefusesWhatOneLacks) {
  auto model = [](std::int64_t label, std::string target) {
    return std::make_shared<StubModel>([=](const std::vector<at::Tensor>& images) -> Outputs {
      return {{"label", output_of(at::full_like(images[0].select(1, 0), label, at::kLong),
                                  Output::Kind::label, target)}};
    });
  };
  auto predict = [&](std::vector<std::shared_ptr<StubModel>> models) {
    std::vector<inference::Member> members;
    for (auto& each : models) members.push_back({each, {}, {}, {}});
    return Predictor(members, pair_labels()).predict(batch_of({ramp(1, 1, 2, 2)}));
  };
  // SenseEarth's table: {1,1,3,3,0} -> 1.
  std::vector<std::shared_ptr<StubModel>> votes;
  for (const std::int64_t label : {1, 1, 3, 3, 0}) votes.push_back(model(label, "change"));
  EXPECT_TRUE(at::equal(predict(votes)[0].second.data, at::full({1, 2, 2}, 1, at::kLong)));
  EXPECT_THROW(predict({model(1, "change"), model(1, "before")}), UserError);
}

}  // namespace
}  // namespace strata::tests
