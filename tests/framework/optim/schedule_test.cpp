#include "framework/optim/schedule.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "framework/base/error.hpp"
#include "tests/support/build.hpp"

namespace strata {
namespace {

std::shared_ptr<Schedule> make(const std::string& toml, std::int64_t steps, double lr = 1.0) {
  return tests::slot_of<Schedule>(toml).build({.steps = steps, .base_lr = lr});
}

std::string error_of(const std::string& toml, std::int64_t steps, double lr = 1.0) {
  return tests::message_of([&] { make(toml, steps, lr); });
}

void expect(const Schedule& schedule, const std::vector<std::pair<std::int64_t, double>>& golden) {
  for (const auto& [step, factor] : golden) {
    EXPECT_NEAR(schedule.factor(step), factor, 1e-15) << "step " << step;
  }
}

TEST(Poly, StraightLine) {
  expect(*make("type = \"PolyLR\"", 100), {{0, 1.0}, {25, 0.75}, {99, 0.01}, {100, 0.0}, {101, 0}});
}

TEST(Poly, PowerAndFloor) {
  expect(*make("type = \"PolyLR\"\npower = 2\nmin_lr_ratio = 0.2", 10),
         {{0, 1.0}, {5, 0.2 + 0.8 * 0.25}, {9, 0.2 + 0.8 * 0.01}, {10, 0.2}});
  // PyTorch's PolynomialLR(power = 0.9, total_iters = 4).
  expect(*make("type = \"PolyLR\"\npower = 0.9", 4),
         {{0, 1.0}, {1, std::pow(0.75, 0.9)}, {3, std::pow(0.25, 0.9)}});
}

TEST(Poly, AbsoluteFloorIsARatioOfTheBaseRate) {
  expect(*make("type = \"PolyLR\"\nmin_lr = 1e-4", 10, 1e-2), {{10, 0.01}, {5, 0.5 * 1.01}});
  EXPECT_EQ(error_of("type = \"PolyLR\"\nmin_lr = 1e-7", 10, 6e-8),
            "test.toml:2:10: min_lr: is above the optimizer's lr, 6e-08, got 1e-07; min_lr_ratio "
            "follows the lr");
  EXPECT_NE(
      error_of("type = \"PolyLR\"\nmin_lr = 0\nmin_lr_ratio = 0", 10).find("give one of them"),
      std::string::npos);
}

// The recipe of VLCD and ChangeCLIP (configs/_base_/schedules/adamw_linear_poly.toml): MMEngine's
// LinearLR 0-1500 from 1e-6 and PolyLR 1500-40000 arrive at their ends one step early.
TEST(Poly, WarmUpAndFallAsInTheRecipeOfVlcd) {
  const auto schedule = make(
      "type = \"PolyLR\"\npower = 1.0\nwarmup = {steps = 1499, start_factor = 1e-6}\nbegin = 1500\n"
      "end = 39999",
      40000, 1e-4);
  expect(*schedule, {{0, 1e-6},
                     {1, 1e-6 + (1 - 1e-6) / 1499},
                     {1499, 1.0},
                     {1500, 1.0},
                     {20000, 1 - 18500.0 / 38499},
                     {39998, 1.0 / 38499},
                     {39999, 0.0}});
  EXPECT_NEAR(1e-4 * schedule->factor(0), 1e-10, 1e-22);
  EXPECT_NEAR(1e-4 * schedule->factor(20000), 5.19468e-5, 5e-11);
}

TEST(Cosine, HalfAWave) {
  expect(*make("type = \"CosineAnnealingLR\"\nmin_lr_ratio = 0.1", 4),
         {{0, 1.0},
          {1, 0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2},
          {2, 0.55},
          {3, 0.1 + 0.9 * (1 - std::sqrt(0.5)) / 2},
          {4, 0.1}});
}

TEST(Linear, BothEnds) {
  expect(*make("type = \"LinearLR\"\nstart_factor = 0.5\nend_factor = 2", 10),
         {{0, 0.5}, {4, 1.1}, {10, 2.0}, {50, 2.0}});
}

TEST(Steps, Drops) {
  expect(*make("type = \"StepLR\"\nstep_size = 3\ngamma = 0.5", 9),
         {{0, 1.0}, {2, 1.0}, {3, 0.5}, {5, 0.5}, {6, 0.25}, {8, 0.25}});
  expect(*make("type = \"MultiStepLR\"\nmilestones = [2, 7]", 9),
         {{1, 1.0}, {2, 0.1}, {6, 0.1}, {7, 0.01}, {8, 0.01}});
  expect(*make("type = \"ConstantLR\"\nfactor = 0.25", 9), {{0, 0.25}, {8, 0.25}});
}

// Warm-up from 0.1 in 4 steps, then the main schedule from its start: no jump, no step twice.
TEST(Warmup, ThenTheSchedule) {
  expect(*make("type = \"PolyLR\"\nwarmup = {steps = 4, start_factor = 0.1}", 14),
         {{0, 0.1}, {1, 0.325}, {2, 0.55}, {3, 0.775}, {4, 1.0}, {5, 0.9}, {9, 0.5}, {14, 0.0}});
}

TEST(Warmup, ANumberIsItsLength) {
  expect(*make("type = \"ConstantLR\"\nwarmup = 2", 10), {{0, 1e-6}, {1, (1 + 1e-6) / 2}, {2, 1}});
}

TEST(Warmup, OverlapMultiplies) {
  expect(*make("type = \"PolyLR\"\nbegin = 0\nwarmup = {steps = 5, start_factor = 0.5}", 10),
         {{0, 0.5}, {1, 0.6 * 0.9}, {5, 0.5}});
}

// Ten steps, four an epoch: the warm-up counts steps, all else epochs.
TEST(Schedules, ByEpoch) {
  const auto schedule = tests::slot_of<Schedule>(
                            "type = \"MultiStepLR\"\nmilestones = [1]\nby_epoch = true\n"
                            "warmup = {steps = 2, start_factor = 0.5}")
                            .build({.steps = 10, .base_lr = 1.0, .steps_in_epoch = 4.0});
  expect(*schedule, {{0, 0.5}, {1, 0.75}, {2, 1.0}, {3, 1.0}, {4, 0.1}, {9, 0.1}});
  // The end of the run is in its third epoch: three are the length.
  expect(*tests::slot_of<Schedule>("type = \"PolyLR\"\nby_epoch = true")
              .build({.steps = 10, .base_lr = 1.0, .steps_in_epoch = 4.0}),
         {{3, 1.0}, {4, 2.0 / 3}, {9, 1.0 / 3}});
  EXPECT_NE(error_of("type = \"PolyLR\"\nby_epoch = true", 10)
                .find("by_epoch: the length of an epoch is not known here; count in steps"),
            std::string::npos);
}

// 35 steps of 3 samples are 15 epochs of 7, and 15 steps of 11 are 55 epochs of 3; the quotients
// of doubles lie a rounding beside these.
TEST(Schedules, EpochsThatAreNoWholeNumberOfSteps) {
  expect(
      *tests::slot_of<Schedule>("type = \"StepLR\"\nstep_size = 15\ngamma = 0.5\nby_epoch = true")
           .build({.steps = 70, .base_lr = 1.0, .steps_in_epoch = 7.0 / 3}),
      {{34, 1.0}, {35, 0.5}, {69, 0.5}, {70, 0.25}});
  expect(*tests::slot_of<Schedule>("type = \"PolyLR\"\nby_epoch = true")
              .build({.steps = 15, .base_lr = 1.0, .steps_in_epoch = 3.0 / 11}),
         {{0, 1.0}, {14, 4.0 / 55}, {15, 0.0}});
}

// pct_start times the steps is 1: the rise is over when the first step begins.
TEST(Schedules, ACycleTooShortToRiseBeginsAtItsPeak) {
  expect(*make("type = \"OneCycleLR\"\npct_start = 0.1", 10), {{0, 1.0}, {9, 4e-6}});
}

TEST(Schedules, AfterTheLastPeriodTheFloor) {
  expect(*make("type = \"CosineRestartLR\"\nperiods = [2, 2]\nrestart_weights = [1, 0.5]\n"
               "min_lr_ratio = 0.1",
               10),
         {{0, 1.0}, {1, 0.55}, {2, 0.5}, {3, 0.3}, {4, 0.1}, {9, 0.1}});
  EXPECT_NE(error_of("type = \"CosineRestartLR\"\nperiods = [2, 2, 2]\n"
                     "restart_weights = [1, 0.5]",
                     10)
                .find("restart_weights: needs one number, or one for each of the 3 periods, got 2"),
            std::string::npos);
  EXPECT_NE(error_of("type = \"SequentialLR\"\nmilestones = [2, 3]\n"
                     "schedules = [{type = \"ConstantLR\"}]",
                     10)
                .find("milestones: must be one less than the schedules, which are 1, got 2"),
            std::string::npos);
  EXPECT_NE(error_of("type = \"SequentialLR\"\nmilestones = [2, 2]\n"
                     "schedules = [{type = \"ConstantLR\"}, {type = \"ConstantLR\"}, "
                     "{type = \"ConstantLR\"}]",
                     10)
                .find("milestones: must rise"),
            std::string::npos);
}

TEST(Schedules, EndIsThatOfTheRunUnlessGiven) {
  expect(*make("type = \"PolyLR\"\nend = 20", 10), {{10, 0.5}, {20, 0.0}});
  expect(*make("type = \"PolyLR\"\nend = 5\nmin_lr_ratio = 0.5", 10), {{5, 0.5}, {9, 0.5}});
  EXPECT_NE(error_of("type = \"PolyLR\"\nbegin = 7\nend = 7", 10)
                .find("end: the schedule ends before it begins at step 7, got 7"),
            std::string::npos);
  // Cut short below its warm-up, a run is all warm-up.
  expect(*make("type = \"PolyLR\"\nwarmup = 100", 10), {{0, 1e-6}});
}

}  // namespace
}  // namespace strata
