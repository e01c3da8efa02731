#include "framework/engine/progress.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ctime>
#include <limits>

#include "framework/engine/window.hpp"

namespace strata::engine {
namespace {

TEST(Progress, KnowsTheProcess) {
  const double before = seconds_since_start();
  EXPECT_GE(before, 0);
  timespec boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  EXPECT_LT(before, static_cast<double>(boot.tv_sec));  // the machine started first
  EXPECT_GE(seconds_since_start(), before);
  EXPECT_GT(resident_memory_mib(), 1);
  EXPECT_LE(resident_memory_mib(), static_cast<double>(peak_memory_mib() + 16));
}

TEST(Progress, Durations) {
  EXPECT_EQ(duration_text(-1), "0:00:00");
  EXPECT_EQ(duration_text(83.4), "0:01:23");
  EXPECT_EQ(duration_text(3600 * 23 + 59), "23:00:59");
  EXPECT_EQ(duration_text(86400 + 60), "1 day 0:01:00");
  EXPECT_EQ(duration_text(2 * 86400 + 3 * 3600 + 4 * 60 + 5), "2 days 3:04:05");
}

TEST(Progress, Bar) {
  EXPECT_EQ(bar_text(0.0, 4), "[>   ]");
  EXPECT_EQ(bar_text(0.5, 4), "[==> ]");
  EXPECT_EQ(bar_text(1.0, 4), "[====]");
  EXPECT_EQ(bar_text(7.0, 4), "[====]");
}

TEST(WindowTest, MeansInOrderOfAppearance) {
  Window window;
  window.add({{"loss", at::tensor(1.0)}, {"b", at::tensor(4.0)}}, 0.5);
  window.add({{"loss", at::tensor(3.0)}, {"b", at::tensor(6.0)}}, 0.5);
  window.add({{"loss", at::tensor(5.0)}}, 1.0);
  window.add("extra", 7.0);
  EXPECT_EQ(window.take(), (std::vector<std::pair<std::string, double>>{
                               {"loss", 3.5}, {"b", 5.0}, {"extra", 7.0}}));
  EXPECT_TRUE(window.take().empty());
}

TEST(WindowTest, SavedInTheMiddleItGoesOnExactly) {
  Window whole, first;
  for (int i = 0; i < 7; ++i) {
    whole.add("x", 0.1 * i);
    if (i < 3) first.add("x", 0.1 * i);
  }
  Window second;
  second.load(first.save());
  for (int i = 3; i < 7; ++i) second.add("x", 0.1 * i);
  EXPECT_EQ(whole.take(), second.take());
}

TEST(WindowTest, NotFinite) {
  Window window;
  window.add("fine", 1.0);
  EXPECT_FALSE(window.not_finite());
  const at::Tensor bad = at::tensor(std::numeric_limits<double>::quiet_NaN());
  window.add({{"loss", bad}}, 1.0, 7);
  window.add({{"fine", at::ones({})}, {"bad", bad}, {"too", bad}}, 1.0, 7);
  window.add({{"later", bad}}, 1.0, 8);
  EXPECT_EQ(window.not_finite()->name, "bad");  // the term, not the total that it spoils
  EXPECT_EQ(window.not_finite()->batch, 7);
  Window loaded;
  loaded.load(window.save());
  EXPECT_EQ(loaded.not_finite()->name, "bad");
}

}  // namespace
}  // namespace strata::engine
