#include <torch/torch.h>

#include <cmath>
#include <cstdlib>

#include "framework/data/transform.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/engine/hook.hpp"
#include "losses/loss.hpp"
#include "plugins/boundary/near_boundary.hpp"
#include "tests/plugins/parts.hpp"

namespace strata::tests {
namespace {

constexpr std::int64_t kIgnore = 255;

LabelSpec label_with(std::vector<std::string> classes) {
  LabelSpec label;
  label.name = "change";
  label.classes = std::move(classes);
  label.ignore_index = kIgnore;
  return label;
}

// --- near_boundary -------------------------------------------------------------------------------

TEST(NearBoundary, IsABandOnBothSides) {
  const auto target = torch::tensor({0, 0, 0, 0, 1, 1, 1, 1}, torch::kLong).view({1, 1, 8});
  const auto band = torch::tensor({0, 0, 1, 1, 1, 1, 0, 0}, torch::kBool).view({1, 1, 8});
  EXPECT_TRUE(boundary::near_boundary(target, kIgnore, 2).equal(band));
}

TEST(NearBoundary, IgnoredPixelsMakeNone) {
  const auto target = torch::tensor({0, 0, 255, 0, 1, 255}, torch::kLong).view({1, 1, 6});
  const auto band = torch::tensor({0, 0, 0, 1, 1, 0}, torch::kBool).view({1, 1, 6});
  EXPECT_TRUE(boundary::near_boundary(target, kIgnore, 1).equal(band));
}

TEST(NearBoundary, AgreesWithTheDefinition) {
  torch::manual_seed(1);
  const auto target = torch::randint(0, 12, {2, 11, 13}, torch::kLong) / 4;  // 0, 1, 2
  const auto holes = torch::rand({2, 11, 13}) < 0.2;
  const auto labels = target.floor().to(torch::kLong).masked_fill(holes, kIgnore);
  for (const std::int64_t radius : {1, 2, 5}) {
    const auto got = boundary::near_boundary(labels, kIgnore, radius);
    const auto at = labels.accessor<std::int64_t, 3>();
    for (std::int64_t n = 0; n < 2; ++n) {
      for (std::int64_t y = 0; y < 11; ++y) {
        for (std::int64_t x = 0; x < 13; ++x) {
          bool near = false;
          for (std::int64_t v = std::max<std::int64_t>(0, y - radius);
               v <= std::min<std::int64_t>(10, y + radius); ++v) {
            for (std::int64_t u = std::max<std::int64_t>(0, x - radius);
                 u <= std::min<std::int64_t>(12, x + radius); ++u) {
              near |= at[n][v][u] != kIgnore && at[n][v][u] != at[n][y][x];
            }
          }
          near &= at[n][y][x] != kIgnore;
          ASSERT_EQ(got[n][y][x].item<bool>(), near) << n << " " << y << " " << x << " " << radius;
        }
      }
    }
  }
}

// --- BoundaryLoss --------------------------------------------------------------------------------

std::shared_ptr<Loss> make_loss(const std::string& keys, std::int64_t channels) {
  return part<Loss>(keys).build(
      {label_with(channels == 3 ? std::vector<std::string>{"a", "b", "c"}
                                : std::vector<std::string>{"same", "changed"}),
       channels});
}

at::Tensor run(const std::shared_ptr<Loss>& loss, const at::Tensor& logits,
               const at::Tensor& target, const at::Tensor& pixel_weight = {}) {
  TrainContext context;
  return loss->forward(logits, target, pixel_weight, context);
}

TEST(BoundaryLoss, IsAWeightedMean) {
  const auto loss = make_loss(R"(type = "BoundaryLoss", radius = 1, boundary_weight = 4.0)", 2);
  EXPECT_EQ(loss->term(), "boundary");
  // One row. Class 1 leads class 0 by these logits; near a boundary are the last two pixels.
  const double lead[] = {0.5, -1.0, 2.0, 3.0};
  const auto logits = torch::zeros({1, 2, 1, 4}, torch::kDouble);
  for (int i = 0; i < 4; ++i) logits[0][1][0][i] = lead[i];
  const auto target = torch::tensor({0, 0, 0, 1}, torch::kLong).view({1, 1, 4});
  auto term = [](double against) { return std::log1p(std::exp(against)); };
  const double expected =
      (term(0.5) + term(-1.0) + 4 * term(2.0) + 4 * term(-3.0)) / (1 + 1 + 4 + 4);
  EXPECT_NEAR(run(loss, logits, target).item<double>(), expected, 1e-14);
  // A head with one channel says the same by a sigmoid.
  const auto binary = make_loss(R"(type = "BoundaryLoss", radius = 1, boundary_weight = 4.0)", 1);
  const auto one = logits.slice(1, 1, 2);
  EXPECT_NEAR(run(binary, one, target).item<double>(), expected, 1e-14);
}

class BoundaryLossOnNoise : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    torch::manual_seed(2);
    const std::int64_t channels = GetParam();
    logits = torch::randn({2, channels, 7, 9}, torch::kDouble).requires_grad_();
    target = torch::randint(0, std::max<std::int64_t>(channels, 2), {2, 7, 9}, torch::kLong)
                 .masked_fill(torch::rand({2, 7, 9}) < 0.3, kIgnore);
  }
  at::Tensor logits, target;
};

TEST_P(BoundaryLossOnNoise, WithWeightOneIsCrossEntropy) {
  const auto loss = make_loss(R"(type = "BoundaryLoss", boundary_weight = 1.0)", GetParam());
  const auto plain = make_loss(
      GetParam() == 1 ? R"(type = "BinaryCrossEntropyLoss")" : R"(type = "CrossEntropyLoss")",
      GetParam());
  EXPECT_NEAR(run(loss, logits, target).item<double>(), run(plain, logits, target).item<double>(),
              1e-13);
}

TEST_P(BoundaryLossOnNoise, GradientIsThatOfTheValue) {
  const auto loss =
      make_loss(R"(type = "BoundaryLoss", radius = 1, boundary_weight = 3.0)", GetParam());
  run(loss, logits, target).backward();
  const auto gradient = logits.grad().flatten();
  const torch::NoGradGuard guard;
  const auto flat = logits.view({-1});
  constexpr double kStep = 1e-6;
  for (std::int64_t i = 0; i < flat.numel(); i += 5) {
    const double value = flat[i].item<double>();
    flat[i] = value + kStep;
    const double above = run(loss, logits, target).item<double>();
    flat[i] = value - kStep;
    const double below = run(loss, logits, target).item<double>();
    flat[i] = value;
    EXPECT_NEAR(gradient[i].item<double>(), (above - below) / (2 * kStep), 1e-9) << "element " << i;
  }
}

TEST_P(BoundaryLossOnNoise, PixelWeightsScaleItsTerms) {
  const auto loss = make_loss(R"(type = "BoundaryLoss")", GetParam());
  const double once = run(loss, logits, target).item<double>();
  const auto weight = torch::full({2, 7, 9}, 2.5, torch::kDouble);
  EXPECT_NEAR(run(loss, logits, target, weight).item<double>(), 2.5 * once, 1e-13);
}

TEST_P(BoundaryLossOnNoise, NothingValidIsZeroWithAGraph) {
  const auto loss = make_loss(R"(type = "BoundaryLoss")", GetParam());
  const auto value = run(loss, logits, torch::full({2, 7, 9}, kIgnore, torch::kLong));
  EXPECT_EQ(value.item<double>(), 0.0);
  value.backward();
  EXPECT_EQ(logits.grad().abs().max().item<double>(), 0.0);
}

INSTANTIATE_TEST_SUITE_P(Channels, BoundaryLossOnNoise, testing::Values(1, 2, 3));

TEST(BoundaryLoss, OneChannelCannotTellThreeClasses) {
  const auto slot = part<Loss>(R"(type = "BoundaryLoss")");
  const std::string message = message_of([&] { slot.build({label_with({"a", "b", "c"}), 1}); });
  EXPECT_NE(message.find("part: one channel tells two classes apart, got label \"change\" with 3"),
            std::string::npos)
      << message;
}

// --- DateGamma ---------------------------------------------------------------------------------

Sample two_dates() {
  Sample sample;
  sample.images = {torch::arange(256, torch::kLong).to(torch::kByte).view({16, 16, 1}),
                   torch::arange(256, torch::kLong).to(torch::kByte).view({16, 16, 1})};
  sample.meta.paths = {"a/1.png", "b/1.png"};
  return sample;
}

Sample after(const std::string& keys, std::uint64_t seed, Sample sample = two_dates()) {
  Philox random(seed);
  part<Transform>(keys).build({})->apply(sample, random);
  return sample;
}

TEST(DateGamma, FollowsTheCurve) {
  const auto sample = after(R"(type = "DateGamma", gamma_range = [2, 2], prob = 1)", 0);
  const auto values = sample.images[0].flatten();
  EXPECT_EQ(values[0].item<int>(), 0);
  EXPECT_EQ(values[128].item<int>(), 64);   // 255 (128 / 255)^2 = 64.25
  EXPECT_EQ(values[200].item<int>(), 157);  // 156.86
  EXPECT_EQ(values[255].item<int>(), 255);
}

TEST(DateGamma, GammaOneAndProbabilityZeroChangeNothing) {
  const auto before = two_dates();
  for (const char* keys : {R"(type = "DateGamma", gamma_range = [1, 1], prob = 1)",
                           R"(type = "DateGamma", prob = 0)"}) {
    const auto sample = after(keys, 3);
    EXPECT_TRUE(sample.images[0].equal(before.images[0])) << keys;
    EXPECT_TRUE(sample.images[1].equal(before.images[1])) << keys;
  }
}

TEST(DateGamma, DrawsForEachDateAndAgainTheSame) {
  const char* keys = R"(type = "DateGamma", gamma_range = [0.5, 2], prob = 1)";
  const auto once = after(keys, 4), again = after(keys, 4), other = after(keys, 5);
  EXPECT_FALSE(once.images[0].equal(once.images[1]));
  EXPECT_TRUE(once.images[0].equal(again.images[0]));
  EXPECT_TRUE(once.images[1].equal(again.images[1]));
  EXPECT_FALSE(once.images[0].equal(other.images[0]));
}

TEST(DateGamma, UsesAsManyDrawsWhetherItChangesOrNot) {
  Philox changed(6), kept(6);
  Sample a = two_dates(), b = two_dates();
  part<Transform>(R"(type = "DateGamma", prob = 1)").build({})->apply(a, changed);
  part<Transform>(R"(type = "DateGamma", prob = 0)").build({})->apply(b, kept);
  EXPECT_EQ(changed.position(), kept.position());
}

TEST(DateGamma, LeavesTheTensorItWasGivenAlone) {
  const Sample given = two_dates();
  const at::Tensor copy = given.images[0].clone();
  const Sample sample = after(R"(type = "DateGamma", gamma_range = [2, 2], prob = 1)", 7, given);
  EXPECT_TRUE(given.images[0].equal(copy));
  EXPECT_FALSE(sample.images[0].equal(copy));
}

TEST(DateGamma, RefusesWhatItCannotChange) {
  Sample sample = two_dates();
  sample.images[1] = sample.images[1].to(torch::kFloat);
  EXPECT_EQ(message_of([&] { after(R"(type = "DateGamma")", 0, sample); }),
            "b/1.png: DateGamma changes 8-bit images only; leave it out of transforms");
  const auto slot = part<Transform>(R"(type = "DateGamma", gamma_range = [2, 1])");
  EXPECT_EQ(message_of([&] { slot.build({}); }),
            "test.toml:1:43: part.gamma_range: the smaller number comes first, got [2, 1]");
}

// --- BoundaryShare -------------------------------------------------------------------------------

Batch batch_of(const std::vector<std::int64_t>& row) {
  Batch batch;
  const auto size = static_cast<std::int64_t>(row.size());
  batch.targets["change"] = {torch::tensor(row, torch::kLong).view({1, 1, size}),
                             label_with({"same", "changed"})};
  return batch;
}

std::shared_ptr<Hook> make_hook(const std::string& keys) {
  return part<Hook>(R"(type = "BoundaryShare", radius = 1)" + keys).build({"edges"});
}

/// What the hook logs after `step`; -1 for nothing.
double logged(Hook& hook, std::int64_t step, const Batch& batch) {
  RunState state;
  state.step = step;
  state.batch = &batch;
  hook.after_step(state);
  return state.logged.count("edges.share") ? state.logged.at("edges.share") : -1;
}

TEST(BoundaryShare, LogsTheShareOfAllPixelsLookedAt) {
  const auto hook = make_hook(", interval = 2");
  const Batch half = batch_of({0, 0, 1, 255, 0});   // 2 of 4 valid pixels
  const Batch none = batch_of({1, 1, 1, 1, 1, 1});  // 0 of 6
  EXPECT_EQ(logged(*hook, 1, half), -1);            // not looked yet
  EXPECT_EQ(logged(*hook, 2, half), 0.5);
  EXPECT_EQ(logged(*hook, 3, none), 0.5);  // not a step to look at
  EXPECT_EQ(logged(*hook, 4, none), 2.0 / 10.0);
}

TEST(BoundaryShare, GoesOnAfterAResume) {
  const auto first = make_hook(", interval = 1"), resumed = make_hook(", interval = 1");
  logged(*first, 1, batch_of({0, 0, 1, 255, 0}));
  resumed->load_state(first->save_state());
  const Batch next = batch_of({1, 1, 1, 1, 1, 1});
  EXPECT_EQ(logged(*resumed, 2, next), logged(*first, 2, next));
  EXPECT_EQ(message_of([&] { resumed->load_state("?"); }),
            "hooks.edges: state is two numbers, got \"?\"");
}

TEST(BoundaryShare, NamesTheLabelsItCouldLookAt) {
  const auto hook = make_hook(R"(, target = "chagne", interval = 1)");
  EXPECT_EQ(message_of([&] {
              logged(*hook, 1, batch_of({0, 1}));
            }),
            "hooks.edges.target: must be one of the labels change, got \"chagne\"");
}

// --- all three -----------------------------------------------------------------------------------

TEST(Boundary, ItsConfigUsesAllThree) {
  setenv("STRATA_PLUGIN_PATH", STRATA_BINARY_DIR "/plugins", 1);
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment =
      load_experiment(STRATA_SOURCE_DIR "/plugins/boundary/boundary_scenes.toml", {}, registry);
  ASSERT_EQ(experiment.hooks.size(), 1U);
  EXPECT_EQ(experiment.hooks[0].first, "boundary");
  EXPECT_EQ(experiment.hooks[0].second.type->origin, plugin_file("boundary"));
  EXPECT_EQ(experiment.data.train->transforms[3].type->name, "DateGamma");

  const auto model = experiment.build_model();
  model->train();
  Batch batch;
  for (int date = 0; date < 2; ++date) {
    batch.images.push_back(torch::randint(0, 256, {1, 3, 64, 64}, torch::kByte));
  }
  batch.targets["change"] = {torch::randint(0, 2, {1, 64, 64}, torch::kLong),
                             experiment.labels.get("change")};
  batch.meta.resize(1);
  TrainContext context;
  const Losses losses = model->loss(batch, context);
  ASSERT_EQ(losses.terms.size(), 1U);
  EXPECT_EQ(losses.terms[0].first, "decode_head.boundary");
}

}  // namespace
}  // namespace strata::tests
