#include "framework/engine/runner.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/io/safetensors.hpp"
#include "tests/framework/engine/stub_run.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using tests::expect_same_run;
using tests::StubModel;
using tests::StubRun;
using tests::TempDir;

std::vector<nlohmann::json> lines_of(const std::string& path) {
  std::vector<nlohmann::json> lines;
  std::istringstream text(read_text(path));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

std::vector<std::int64_t> steps_in(const std::string& work_dir) {
  std::vector<std::int64_t> steps;
  for (const auto& [step, path] : checkpoints_in(work_dir)) steps.push_back(step);
  return steps;
}

TEST(Runner, TrainsAndLeavesWhatItShould) {
  const TempDir folder;
  StubRun stub(folder.path(), 60);
  stub.settings.validation_interval = 20;
  stub.settings.train.log_interval = 10;
  stub.optimizer = "type = \"AdamW\"\nlr = 0.05";
  EXPECT_EQ(stub.make().run(), RunEnd::finished);

  const auto lines = lines_of(folder / "scalars.jsonl");
  ASSERT_EQ(lines.size(), 9U);  // six of training, three of validation
  EXPECT_EQ(lines[0].at("step"), 10);
  EXPECT_EQ(lines[0].at("epoch"), 2);  // 20 samples of 8
  EXPECT_LT(lines[7].at("loss").get<double>(), 0.8 * lines[0].at("loss").get<double>());
  EXPECT_EQ(lines[0].at("loss"), lines[0].at("head.loss_ce"));
  EXPECT_TRUE(lines[0].contains("head.acc_seg"));
  EXPECT_NEAR(lines[0].at("lr").get<double>(), 0.05 * (1.0 - 6.0 / 57.0), 1e-12);  // of step 10
  EXPECT_TRUE(lines[2].contains("val.accuracy"));
  const auto times = lines_of(folder / "timing.jsonl");
  ASSERT_EQ(times.size(), 10U);  // the start, six of training, three of validation
  EXPECT_GT(times[0].at("first_step_begins").get<double>(), 0);
  EXPECT_GT(times[0].at("resident_mib").get<double>(), 0);
  EXPECT_TRUE(times[1].contains("time"));
  EXPECT_EQ(times[3].at("step"), 20);
  EXPECT_GE(times[3].at("validation_time").get<double>(), 0);
  EXPECT_TRUE(fs::exists(folder / "train.log"));
  EXPECT_EQ(read_text(folder / "config.toml"), "# resolved\n");
  EXPECT_EQ(check_checkpoint(folder / "step_60"), "");
}

TEST(Runner, LogsTheTableOfClassesBelowEachValidation) {
  const TempDir folder;
  StubRun(folder.path(), 4).make().run();
  const std::string log = read_text(folder / "train.log");
  const std::size_t line = log.find("validation of step 4:  accuracy ");
  const std::size_t table = log.find("validation of step 4\nclass  IoU\nsame   0.5\n");
  EXPECT_NE(line, std::string::npos) << log;
  ASSERT_NE(table, std::string::npos) << log;
  EXPECT_LT(line, table);
}

TEST(Runner, ResumedRunIsTheSameRun) {
  for (const std::int64_t cut : {1, 4, 5, 8, 11}) {
    const TempDir straight, broken;
    StubRun whole(straight.path()), part(broken.path());
    for (StubRun* run : {&whole, &part}) {
      run->settings.train.accumulate = 2;
      run->settings.train.clip_grad = ClipGradOptions{0.5, {}};
      run->freeze = {{"backbone", 6, false}};
      run->hooks = {{"stop", "type = \"EarlyStoppingHook\"\nmonitor = \"accuracy\"\npatience = 9"}};
    }
    EXPECT_EQ(whole.make().run(), RunEnd::finished);
    part.settings.train.stop_at = cut;
    EXPECT_EQ(part.make().run(), RunEnd::stopped) << cut;
    part.settings.train.stop_at.reset();
    part.settings.resume = newest_checkpoint(broken.path()).value();
    EXPECT_EQ(part.settings.resume, broken / ("step_" + std::to_string(cut)));
    EXPECT_EQ(part.make().run(), RunEnd::finished) << cut;
    expect_same_run(straight.path(), broken.path(), 12);
  }
}

TEST(Runner, ResumesIntoAnotherFolder) {
  const TempDir one, two, straight;
  StubRun run(straight.path());
  run.make().run();
  run.settings.work_dir = one.path();
  run.settings.train.stop_at = 7;
  run.make().run();
  run.settings.work_dir = two.path();
  run.settings.train.stop_at.reset();
  run.settings.resume = one / "step_7";
  run.make().run();
  expect_same_run(straight.path(), two.path(), 12);
  EXPECT_EQ(steps_in(one.path()), (std::vector<std::int64_t>{4, 7}));
}

// A shell completes the name of a folder with a slash.
TEST(Runner, ResumesFromAPathThatEndsInASlash) {
  const TempDir straight, broken;
  StubRun run(straight.path());
  run.make().run();
  run.settings.work_dir = broken.path();
  run.settings.train.stop_at = 7;
  run.make().run();
  run.settings.train.stop_at.reset();
  run.settings.resume = broken.path() + "/step_7/";
  run.make().run();
  expect_same_run(straight.path(), broken.path(), 12);
  EXPECT_FALSE(fs::exists(broken.path() + "/previous_1"));
}

TEST(Runner, ResumedBeforeItsBestTheBestBeforeThatIsBack) {
  const TempDir folder;
  StubRun run(folder.path());
  run.settings.train.keep_last = 9;
  run.scores = {0.5, 0.4, 0.9};
  run.make().run();
  EXPECT_EQ(best_checkpoint(folder.path()).value(), folder / "step_12");
  run.settings.resume = folder / "step_8";
  run.scores = {0.1};
  run.make().run();
  EXPECT_EQ(best_checkpoint(folder.path()).value(), folder / "step_4");
}

TEST(Runner, TheTimeForDataIsThatOfAStep) {
  const TempDir folder;
  StubRun run(folder.path(), 7);
  run.settings.train.accumulate = 2;
  run.make().run();
  std::vector<std::int64_t> steps;
  for (const auto& line : lines_of(folder / "timing.jsonl")) {
    if (!line.contains("data_time")) continue;
    steps.push_back(line.at("step"));
    EXPECT_EQ(line.at("data_time"), 2.0) << line;
  }
  EXPECT_EQ(steps, (std::vector<std::int64_t>{3, 6, 7}));  // the last line is of one step
}

TEST(Runner, HooksSeeValuesWithoutGraphsAndTheEpoch) {
  struct Watching final : Hook {
    void before_run(RunState& state) override { epoch = state.epoch; }
    void after_step(RunState& state) override {
      graphs += state.losses->total().requires_grad();
      ++steps;
    }
    std::int64_t epoch = -1, graphs = 0, steps = 0;
  };
  const TempDir folder;
  StubRun run(folder.path(), 8);
  const auto first = std::make_shared<Watching>(), second = std::make_shared<Watching>();
  run.settings.train.stop_at = 5;
  run.make(std::make_shared<StubModel>(), {{"watch", first}}).run();
  EXPECT_EQ(first->epoch, 0);
  EXPECT_EQ(first->steps, 5);
  EXPECT_EQ(first->graphs, 0);
  run.settings.train.stop_at.reset();
  run.settings.resume = folder / "step_5";
  run.make(std::make_shared<StubModel>(), {{"watch", second}}).run();
  EXPECT_EQ(second->epoch, 1);  // 10 samples of 8
}

// After a kill there are lines of steps that no checkpoint has seen.
TEST(Runner, ResumeForgetsWhatCameAfterTheCheckpoint) {
  const TempDir straight, broken;
  StubRun run(straight.path());
  run.make().run();
  run.settings.work_dir = broken.path();
  run.settings.train.keep_last = 9;
  run.make().run();
  std::ofstream(broken / "scalars.jsonl", std::ios::app) << "{\"step\":13,\"lo";
  run.settings.resume = broken / "step_4";
  run.make().run();
  expect_same_run(straight.path(), broken.path(), 12);
  EXPECT_TRUE(fs::exists(broken / "previous_1/step_8"));
}

TEST(Runner, AnotherSeedIsRefused) {
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.make().run();
  run.settings.resume = folder / "step_4";
  run.settings.seed = 6;
  EXPECT_THROW(run.make().run(), CheckpointError);
}

TEST(Runner, AnotherModelIsRefusedWithTheDifferences) {
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.settings.config =
      "[model]\ndepth = 18\nwidth = 64\n[data.train]\nworkers = 1\n[train]\nsteps = 4\n";
  run.make().run();
  run.settings.resume = folder / "step_4";
  run.settings.config =
      "[model]\ndepth = 50\n[data.train]\nworkers = 4\n[train]\nsteps = 9\n[optimizer]\nlr = 1.5\n";
  EXPECT_EQ(tests::message_of([&] { run.make().run(); }),
            (folder / "step_4") +
                "/config.toml: a resumed run must have the same model, data and optimizer:\n"
                "  model.depth: was 18, now 50\n"
                "  model.width: was 64, now nothing\n"
                "  optimizer.lr: was nothing, now 1.5");
  run.settings.config =
      "[model]\ndepth = 18\nwidth = 64\n[data.train]\nworkers = 4\n[train]\nsteps = 9\n";
  EXPECT_EQ(run.make().run(), RunEnd::finished);
}

TEST(Runner, AccumulationIsTheMeanOverBatches) {
  // Two batches of one step by hand: plain SGD moves by lr times the mean gradient.
  const TempDir folder;
  StubRun run(folder.path(), 1);
  run.optimizer = "type = \"SGD\"\nlr = 0.5";
  run.schedule = "type = \"ConstantLR\"";
  run.settings.train.accumulate = 2;
  auto model = std::make_shared<StubModel>(), twin = std::make_shared<StubModel>();
  for (auto& one : {model, twin}) one->drop->options.p(0.0);
  run.make(model).run();
  twin->train();
  TrainContext context;
  for (const std::int64_t number : {0, 1}) {
    (twin->loss(tests::stub_batch(number), context).total() / 2).backward();
  }
  const auto moved = model->parameters(), expected = twin->parameters();
  for (std::size_t i = 0; i < moved.size(); ++i) {
    EXPECT_TRUE(at::equal(moved[i], expected[i] - 0.5 * expected[i].grad())) << i;
  }
}

TEST(Runner, FrozenPartsKeepTheirBytes) {
  const TempDir folder;
  StubRun run(folder.path(), 6);
  run.freeze = {{"backbone", {}, false}, {"bn", {}, false}};
  auto model = std::make_shared<StubModel>();
  const StubModel before;
  run.make(model).run();
  const auto now = model->named_parameters(), then = before.named_parameters();
  for (const auto& item : then) {
    const bool frozen = item.key().rfind("head", 0) != 0;
    EXPECT_EQ(at::equal(item.value(), now[item.key()]), frozen) << item.key();
  }
  for (const auto& item : before.named_buffers()) {
    EXPECT_TRUE(at::equal(item.value(), model->named_buffers()[item.key()])) << item.key();
  }
  const auto state = io::read_safetensors(folder / "step_6/optimizer.safetensors");
  EXPECT_EQ(state.tensors.size(), 6U);  // two moments and a count, of weight and bias
  for (const auto& [name, tensor] : state.tensors) EXPECT_TRUE(name.starts_with("head.")) << name;
}

TEST(Runner, ThawedPartsJoinWithFreshState) {
  const TempDir folder;
  StubRun run(folder.path(), 6);
  run.freeze = {{"backbone", 4, false}};
  run.make().run();
  const auto state = io::read_safetensors(folder / "step_6/optimizer.safetensors");
  EXPECT_EQ(get(state.tensors, "backbone.weight.step").item<std::int64_t>(), 2);
  EXPECT_EQ(get(state.tensors, "head.weight.step").item<std::int64_t>(), 6);
}

TEST(Runner, BestAndNewestCheckpointsStay) {
  const TempDir folder;
  StubRun run(folder.path(), 10);
  run.settings.validation_interval = 2;
  run.settings.train.keep_last = 2;
  run.scores = {0.5, 0.9, 0.7, 0.9, 0.1};  // a tie does not move the best
  run.make().run();
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{4, 8, 10}));
  EXPECT_EQ(best_checkpoint(folder.path()).value(), folder / "step_4");
  EXPECT_EQ(weights_of(folder.path()), folder / "step_4/model.safetensors");
}

TEST(Runner, BestByAScoreOfWhichLessIsBetter) {
  const TempDir folder;
  StubRun run(folder.path(), 6);
  run.settings.validation_interval = 2;
  run.settings.best = "error";
  run.scores = {0.5, 0.9, 0.7};
  run.make().run();
  EXPECT_EQ(best_checkpoint(folder.path()).value(), folder / "step_4");
}

TEST(Runner, AnUnknownBestIsToldWithAHint) {
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.settings.best = "acuracy";
  EXPECT_EQ(tests::message_of([&] { run.make().run(); }),
            "evaluate.best: the metrics give no such number, got \"acuracy\"; did you mean "
            "\"accuracy\"?");
}

TEST(Runner, EarlyStopping) {
  const TempDir folder;
  StubRun run(folder.path(), 40);
  run.settings.validation_interval = 2;
  run.scores = {0.5, 0.6, 0.6, 0.55, 0.9};
  run.hooks = {{"stop", "type = \"EarlyStoppingHook\"\nmonitor = \"accuracy\"\npatience = 2"}};
  EXPECT_EQ(run.make().run(), RunEnd::stopped);
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{4, 8}));
}

// Of "error" less is better: it falls from the first validation to the second, then stands still.
TEST(Runner, EarlyStoppingKnowsOfWhichScoresLessIsBetter) {
  const TempDir folder;
  StubRun run(folder.path(), 40);
  run.settings.validation_interval = 2;
  run.scores = {0.5, 0.6, 0.6, 0.55, 0.9};
  run.hooks = {{"stop", "type = \"EarlyStoppingHook\"\nmonitor = \"error\"\npatience = 2"}};
  EXPECT_EQ(run.make().run(), RunEnd::stopped);
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{4, 8}));
}

TEST(Runner, AnInterruptedRunSavesAndGoesOn) {
  const TempDir straight, broken;
  StubRun run(straight.path());
  run.make().run();
  run.settings.work_dir = broken.path();
  struct Interrupting final : StubModel {
    Losses loss(const Batch& batch, TrainContext& context) override {
      if (context.step_number == 4) std::raise(SIGTERM);
      return StubModel::loss(batch, context);
    }
  };
  EXPECT_EQ(run.make(std::make_shared<Interrupting>()).run(), RunEnd::interrupted);
  run.settings.resume = newest_checkpoint(broken.path()).value();
  EXPECT_EQ(run.settings.resume, broken / "step_5");
  EXPECT_EQ(run.make().run(), RunEnd::finished);
  expect_same_run(straight.path(), broken.path(), 12);
}

// The second validation is interrupted, the run resumed, lost after that, and resumed again.
TEST(Runner, AValidationThatWasOwedIsWrittenOnce) {
  struct Interrupting final : StubModel {
    Outputs predict(const Batch& batch) override {
      if (++validations == 2) std::raise(SIGTERM);
      return StubModel::predict(batch);
    }
    int validations = 0;
  };
  const TempDir straight, broken;
  StubRun run(straight.path());
  run.settings.train.checkpoint_interval = 100;
  run.scores = {0.5, 0.4, 0.3};
  run.make().run();
  run.settings.work_dir = broken.path();
  EXPECT_EQ(run.make(std::make_shared<Interrupting>()).run(), RunEnd::interrupted);
  run.settings.resume = broken / "step_8";
  run.scores = {0.4, 0.3};
  auto lost = std::make_shared<StubModel>();
  lost->poison_at = 1;
  EXPECT_THROW(run.make(lost).run(), UserError);
  EXPECT_EQ(newest_checkpoint(broken.path()).value(), broken / "step_8");
  run.scores = {0.3};
  EXPECT_EQ(run.make().run(), RunEnd::finished);
  expect_same_run(straight.path(), broken.path(), 12);
}

TEST(Runner, ALossThatIsNotFiniteEndsTheRun) {
  const TempDir folder;
  StubRun run(folder.path());
  auto model = std::make_shared<StubModel>();
  model->poison_at = 6;
  EXPECT_EQ(tests::message_of([&] { run.make(model).run(); }),
            folder.path() +
                ": head.loss_bad is not finite in step 7; its batch is pictures/6a.png, "
                "pictures/6b.png; lower optimizer.lr, set train.clip_grad, or look at the data "
                "with tools/browse --check (train.on_nan = \"ignore\" goes on); the newest "
                "checkpoint is of step 4");
  EXPECT_EQ(steps_in(folder.path()), (std::vector<std::int64_t>{4}));
  EXPECT_EQ(check_checkpoint(folder / "step_4"), "");
}

TEST(Runner, AnEarlierRunIsKeptAside) {
  const TempDir folder;
  StubRun run(folder.path(), 2);
  run.make().run();
  const std::string first = read_text(folder / "scalars.jsonl");
  write_text(folder / "notes.txt", "mine");
  run.settings.seed = 6;
  run.make().run();
  run.make().run();
  EXPECT_EQ(read_text(folder / "previous_1/scalars.jsonl"), first);
  EXPECT_TRUE(fs::exists(folder / "previous_2/step_2/manifest.json"));
  EXPECT_EQ(read_text(folder / "notes.txt"), "mine");
  EXPECT_FALSE(fs::exists(folder / "previous_1/notes.txt"));
}

TEST(RunLength, StepsOrEpochs) {
  TrainOptions train;
  EXPECT_THROW(steps_of(train, 100, 4), OptionError);
  train.epochs = 3;
  train.accumulate = 2;
  EXPECT_EQ(steps_of(train, 100, 4), 37);  // 300 samples, 8 a step
  EXPECT_EQ(steps_of(train, 2, 16), 1);
  EXPECT_EQ(validation_interval({}, train, 37, 100, 4), 12);
  train.steps = 50;
  EXPECT_THROW(steps_of(train, 100, 4), OptionError);
  train.epochs.reset();
  EXPECT_EQ(steps_of(train, 100, 4), 50);
  EXPECT_EQ(validation_interval({}, train, 50, 100, 4), 5);
  EvaluateOptions evaluate;
  evaluate.interval_epochs = 2;
  EXPECT_EQ(validation_interval(evaluate, train, 50, 100, 4), 25);
  evaluate.interval = 7;
  EXPECT_EQ(validation_interval(evaluate, train, 50, 100, 4), 7);
}

}  // namespace
}  // namespace strata::engine
