#include "framework/optim/optimizer.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "framework/base/error.hpp"
#include "tests/support/build.hpp"

namespace strata {
namespace {

using tests::slot_of;

at::Tensor parameter(std::vector<double> values) {
  return at::tensor(values, at::kDouble).set_requires_grad(true);
}

std::shared_ptr<Optimizer> make(const std::string& toml, const std::vector<at::Tensor>& parameters,
                                double lr, double decay) {
  ParameterGroup group;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    group.names.push_back("p" + std::to_string(i));
    group.parameters.push_back(parameters[i]);
  }
  group.lr = lr;
  group.weight_decay = decay;
  return slot_of<Optimizer>(toml).build({{group}});
}

void set_grad(at::Tensor& parameter, const std::vector<double>& values) {
  parameter.mutable_grad() = at::tensor(values, at::kDouble).to(parameter.scalar_type());
}

// By hand: momentum 0.9, decay 0.5, lr 0.1, p = 2, gradients 1 and 3.
//   step 1: g = 1 + 0.5*2 = 2,     buffer = 2,               p = 2 - 0.2 = 1.8
//   step 2: g = 3 + 0.5*1.8 = 3.9, buffer = 1.8 + 3.9 = 5.7, p = 1.8 - 0.57 = 1.23
TEST(Sgd, MomentumAndDecayByHand) {
  at::Tensor p = parameter({2.0});
  auto sgd = make("type = \"SGD\"\nlr = 0.1\nmomentum = 0.9", {p}, 0.1, 0.5);
  set_grad(p, {1.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 1.8, 1e-15);
  set_grad(p, {3.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 1.23, 1e-15);
}

// Dampening 0.5 leaves half of every gradient but the first out of the buffer.
//   step 1: buffer = 4,             p = 1 - 0.1*4 = 0.6
//   step 2: buffer = 0.5*4 + 0.5*2 = 3, p = 0.6 - 0.3 = 0.3
TEST(Sgd, DampeningSparesTheFirstStep) {
  at::Tensor p = parameter({1.0});
  auto sgd = make("type = \"SGD\"\nlr = 0.1\nmomentum = 0.5\ndampening = 0.5", {p}, 0.1, 0.0);
  set_grad(p, {4.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 0.6, 1e-15);
  set_grad(p, {2.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 0.3, 1e-15);
}

// Nesterov: step along gradient + momentum * buffer.
//   step 1: buffer = 1, p = 1 - 0.1*(1 + 0.9) = 0.81
//   step 2: buffer = 0.9 + 2 = 2.9, p = 0.81 - 0.1*(2 + 0.9*2.9) = 0.349
TEST(Sgd, NesterovByHand) {
  at::Tensor p = parameter({1.0});
  auto sgd = make("type = \"SGD\"\nlr = 0.1\nmomentum = 0.9\nnesterov = true", {p}, 0.1, 0.0);
  set_grad(p, {1.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 0.81, 1e-15);
  set_grad(p, {2.0});
  sgd->step(1.0);
  EXPECT_NEAR(p.item<double>(), 0.349, 1e-15);
}

TEST(Sgd, NesterovNeedsMomentum) {
  at::Tensor p = parameter({1.0});
  EXPECT_EQ(
      tests::message_of([&] { make("type = \"SGD\"\nlr = 0.1\nnesterov = true", {p}, 0.1, 0.0); }),
      "test.toml:3:12: nesterov: needs momentum above 0 and dampening 0, got momentum "
      "0 and dampening 0");
}

// The formulas of the papers as PyTorch documents them, in plain doubles.
struct AdamByFormula {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0.0;
  bool decoupled = false, amsgrad = false;
  double m = 0, v = 0, largest = 0;
  int t = 0;

  double step(double p, double g, double lr) {
    ++t;
    if (decoupled) {
      p -= lr * decay * p;
    } else {
      g += decay * p;
    }
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    largest = std::max(largest, v);
    const double root = std::sqrt(amsgrad ? largest : v) / std::sqrt(1 - std::pow(beta2, t)) + eps;
    return p - lr * (m / (1 - std::pow(beta1, t))) / root;
  }
};

TEST(Adam, FollowsTheFormulas) {
  const std::array<double, 6> gradients{0.5, -1.25, 3.0, 0.0, 1e-3, -2.0};
  for (const bool decoupled : {false, true}) {
    for (const bool amsgrad : {false, true}) {
      at::Tensor p = parameter({1.5, -0.25});
      auto adam =
          make(std::string("type = \"") + (decoupled ? "AdamW" : "Adam") +
                   "\"\nlr = 0.01\nbetas = [0.8, 0.95]\namsgrad = " + (amsgrad ? "true" : "false"),
               {p}, 0.01, 0.1);
      std::array<double, 2> expected{1.5, -0.25};
      std::array<AdamByFormula, 2> formula;
      formula.fill({0.8, 0.95, 1e-8, 0.1, decoupled, amsgrad});
      for (std::size_t t = 0; t < gradients.size(); ++t) {
        const double factor = 1.0 - 0.1 * static_cast<double>(t);
        set_grad(p, {gradients[t], 2 * gradients[t] - 1});
        adam->step(factor);
        expected[0] = formula[0].step(expected[0], gradients[t], 0.01 * factor);
        expected[1] = formula[1].step(expected[1], 2 * gradients[t] - 1, 0.01 * factor);
        for (std::int64_t i = 0; i < 2; ++i) {
          EXPECT_NEAR(p[i].item<double>(), expected[static_cast<std::size_t>(i)], 1e-14)
              << "decoupled " << decoupled << " amsgrad " << amsgrad << " step " << t;
        }
      }
    }
  }
}

// A bucket holds what took the same number of steps: a late starter has its own bias correction.
TEST(Adam, ParametersCountTheirOwnSteps) {
  at::Tensor early = parameter({1.0}), late = parameter({1.0});
  auto adam = make("type = \"AdamW\"\nlr = 0.1", {early, late}, 0.1, 0.0);
  AdamByFormula early_formula{.decoupled = true}, late_formula{.decoupled = true};
  double early_value = 1.0, late_value = 1.0;
  for (int t = 0; t < 5; ++t) {
    set_grad(early, {1.0 + t});
    early_value = early_formula.step(early_value, 1.0 + t, 0.1);
    if (t >= 2) {
      set_grad(late, {-2.0});
      late_value = late_formula.step(late_value, -2.0, 0.1);
    }
    adam->step(1.0);
    adam->zero_grad();
    EXPECT_NEAR(early.item<double>(), early_value, 1e-14) << t;
    EXPECT_NEAR(late.item<double>(), late_value, 1e-14) << t;
  }
}

TEST(Optimizers, WithoutGradientNothingMoves) {
  for (const char* toml :
       {"type = \"SGD\"\nlr = 0.1\nmomentum = 0.9", "type = \"AdamW\"\nlr = 1"}) {
    at::Tensor moved = parameter({1.0}), still = parameter({1.0});
    auto optimizer = make(toml, {moved, still}, 1.0, 0.5);
    set_grad(moved, {1.0});
    optimizer->step(1.0);
    EXPECT_NE(moved.item<double>(), 1.0);
    EXPECT_EQ(still.item<double>(), 1.0) << "decay without a gradient";
    for (const auto& [name, tensor] : optimizer->state()) EXPECT_EQ(name.rfind("p0.", 0), 0U);
  }
}

at::Tensor random_weight(at::MemoryFormat format) {
  at::Tensor weight = at::arange(2 * 3 * 4 * 5, at::kFloat).sin().reshape({2, 3, 4, 5});
  return weight.contiguous(format).set_requires_grad(true);
}

// Same numbers in either layout, also when the gradient comes in the other one, also after the
// state went through a file, which is row-major.
TEST(Optimizers, LayoutsDoNotMatter) {
  for (const char* toml : {"type = \"SGD\"\nlr = 0.1\nmomentum = 0.9", "type = \"AdamW\"\nlr = 0.1",
                           "type = \"Lion\"\nlr = 0.1"}) {
    at::Tensor rows = random_weight(at::MemoryFormat::Contiguous);
    at::Tensor last = random_weight(at::MemoryFormat::ChannelsLast);
    auto of_rows = make(toml, {rows}, 0.1, 0.01);
    auto of_last = make(toml, {last}, 0.1, 0.01);
    for (int t = 0; t < 4; ++t) {
      const at::Tensor gradient = at::arange(120, at::kFloat).add(t).cos().reshape({2, 3, 4, 5});
      rows.mutable_grad() = gradient;
      last.mutable_grad() =
          t % 2 == 0 ? gradient : gradient.contiguous(at::MemoryFormat::ChannelsLast);
      of_rows->step(1.0);
      of_last->step(1.0);
      EXPECT_TRUE(at::equal(rows, last)) << toml << " step " << t;
      EXPECT_TRUE(last.is_contiguous(at::MemoryFormat::ChannelsLast));
      auto state = of_last->state();
      for (auto& [name, tensor] : state) tensor = tensor.contiguous().clone();
      of_last = make(toml, {last}, 0.1, 0.01);
      of_last->load_state(state);
    }
  }
}

TEST(Optimizers, StateGoesOnExactly) {
  for (const char* toml :
       {"type = \"SGD\"\nlr = 0.1\nmomentum = 0.9\ndampening = 0.3", "type = \"Adam\"\nlr = 0.1",
        "type = \"AdamW\"\nlr = 0.1\namsgrad = true", "type = \"Lion\"\nlr = 0.1"}) {
    at::Tensor straight = parameter({1.0, -2.0}), broken = parameter({1.0, -2.0});
    auto one = make(toml, {straight}, 0.1, 0.1);
    auto two = make(toml, {broken}, 0.1, 0.1);
    for (int t = 0; t < 6; ++t) {
      if (t == 3) {
        auto next = make(toml, {broken}, 0.1, 0.1);
        next->load_state(two->state());
        two = next;
      }
      set_grad(straight, {t - 1.5, 0.25 * t});
      set_grad(broken, {t - 1.5, 0.25 * t});
      one->step(0.5);
      two->step(0.5);
    }
    EXPECT_TRUE(at::equal(straight, broken)) << toml;
  }
}

TEST(Optimizers, StateOfSomethingElseIsRefused) {
  const auto message = [](const std::vector<std::pair<std::string, at::Tensor>>& state) {
    at::Tensor p = parameter({1.0, 2.0});
    auto adam = make("type = \"Adam\"\nlr = 0.1", {p}, 0.1, 0.0);
    return tests::message_of([&] { adam->load_state(state); });
  };
  const at::Tensor step = at::scalar_tensor(1, at::kLong), two = at::zeros({2}, at::kDouble);
  EXPECT_EQ(message({{"q.exp_avg", two}}),
            "optimizer state: q.exp_avg belongs to nothing that this optimizer trains");
  EXPECT_EQ(message({{"p0.step", step}, {"p0.exp_avg", two}}),
            "optimizer state: p0.exp_avg_sq is missing");
  EXPECT_EQ(message({{"p0.step", step}, {"p0.exp_avg", at::zeros({3})}, {"p0.exp_avg_sq", two}}),
            "optimizer state: p0.exp_avg has shape [3], the parameter has [2]");
}

}  // namespace
}  // namespace strata
