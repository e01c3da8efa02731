// run(N) and run(k) + resume(N - k) give the same bytes, whatever a run is made of.
#include <gtest/gtest.h>

#include "framework/engine/checkpoint.hpp"
#include "tests/framework/engine/stub_run.hpp"

namespace strata::engine {
namespace {

using tests::expect_same_run;
using tests::StubRun;
using tests::TempDir;

struct Variant {
  const char* name;
  std::function<void(StubRun&)> apply;
};

void with_ema(StubRun& run) {
  run.hooks.emplace_back("ema", "type = \"EMAHook\"\nmomentum = 0.1\ngamma = 3\ninterval = 2");
  run.hooks.emplace_back("table", "type = \"CSVHook\"");
}

const std::vector<Variant>& variants() {
  static const std::vector<Variant> all{
      {"AdamW", [](StubRun&) {}},
      {"Adam with amsgrad",
       [](StubRun& run) { run.optimizer = "type = \"Adam\"\nlr = 0.01\namsgrad = true"; }},
      {"SGD with momentum",
       [](StubRun& run) {
         run.optimizer = "type = \"SGD\"\nlr = 0.1\nmomentum = 0.9\nnesterov = true";
       }},
      {"Lion", [](StubRun& run) { run.optimizer = "type = \"Lion\"\nlr = 0.001"; }},
      {"a schedule by epochs",
       [](StubRun& run) {
         run.schedule = "type = \"ExponentialLR\"\ngamma = 0.5\nby_epoch = true";
       }},
      {"EMA", with_ema},
      {"bfloat16", [](StubRun& run) { run.settings.train.amp = AmpOptions{}; }},
      {"channels-last", [](StubRun& run) { run.settings.channels_last = true; }},
      {"accumulation", [](StubRun& run) { run.settings.train.accumulate = 3; }},
      {"all together", [](StubRun& run) {
         with_ema(run);
         run.settings.train.amp = AmpOptions{};
         run.settings.channels_last = true;
         run.settings.train.accumulate = 3;
         run.settings.train.clip_grad = ClipGradOptions{0.5, 0.2};
         run.freeze = {{"backbone", 6, false}};
       }}};
  return all;
}

// Five batches an epoch, of two samples: almost every step ends in the middle of one.
TEST(Resume, IsExactAtAnyStepWithAnyNumberOfThreads) {
  for (const Variant& variant : variants()) {
    const bool last = &variant == &variants().back();
    for (const std::int64_t cut : last ? std::vector<std::int64_t>{1, 2, 4, 5, 7, 8, 11}
                                       : std::vector<std::int64_t>{1, 6, 11}) {
      SCOPED_TRACE(std::string(variant.name) + ", cut after step " + std::to_string(cut));
      const TempDir straight, broken;
      StubRun whole(straight.path()), part(broken.path());
      for (StubRun* run : {&whole, &part}) {
        run->settings.samples_in_epoch = 10;
        variant.apply(*run);
      }
      whole.workers = 0;
      EXPECT_EQ(whole.make().run(), RunEnd::finished);
      part.workers = 3;
      part.settings.train.stop_at = cut;
      EXPECT_EQ(part.make().run(), RunEnd::stopped);
      part.workers = 1;
      part.settings.train.stop_at.reset();
      part.settings.resume = newest_checkpoint(broken.path()).value();
      EXPECT_EQ(part.make().run(), RunEnd::finished);
      expect_same_run(straight.path(), broken.path(), 12);
    }
  }
}

TEST(Resume, GoesOnFromEveryStepInOneRun) {
  const TempDir straight, broken;
  StubRun whole(straight.path()), part(broken.path());
  variants().back().apply(whole);
  variants().back().apply(part);
  whole.make().run();
  for (std::int64_t step = 1; step <= 12; ++step) {
    part.settings.train.stop_at = step;
    part.make().run();
    part.settings.resume = newest_checkpoint(broken.path()).value();
  }
  expect_same_run(straight.path(), broken.path(), 12);
}

}  // namespace
}  // namespace strata::engine
