#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "framework/base/error.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/hooks/tensorboard.hpp"
#include "framework/io/image.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"
#include "tests/framework/engine/stub_run.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using tests::StubModel;
using tests::StubRun;
using tests::TempDir;

TensorMap tensors(const TempDir& folder, std::int64_t step, const char* name) {
  return io::read_safetensors(folder / ("step_" + std::to_string(step) + "/" + name)).tensors;
}

// average = average + momentum (weights - average), from the first weights on.
TEST(Ema, IsTheMovingAverage) {
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.settings.validation_interval = 2;
  run.settings.train.checkpoint_interval = 1;
  run.settings.train.keep_last = 9;
  run.hooks = {{"ema", "type = \"EMAHook\"\nmomentum = 0.25"}};
  run.measure = [](StubModel& model) { return model.head->weight.sum().item<double>(); };
  const StubModel first;
  auto model = std::make_shared<StubModel>();
  run.make(model).run();

  TensorMap average;
  for (const auto& item : first.named_parameters()) average.emplace_back(item.key(), item.value());
  for (std::int64_t step = 1; step <= 4; ++step) {
    const TensorMap weights = tensors(folder, step, "model.safetensors");
    const TensorMap kept = tensors(folder, step, "ema.safetensors");
    EXPECT_EQ(kept.size(), weights.size());
    const at::NoGradGuard no_grad;
    for (auto& [name, value] : average) {
      value = value + 0.25 * (get(weights, name) - value);
      EXPECT_LE((get(kept, name) - value).abs().max().item<double>(), 1e-6) << name << step;
    }
    EXPECT_TRUE(at::equal(get(kept, "bn.running_mean"), get(weights, "bn.running_mean")));
    EXPECT_TRUE(
        at::equal(get(kept, "bn.num_batches_tracked"), get(weights, "bn.num_batches_tracked")));
  }
  // Validation measured the average, and the model has its own weights again.
  std::istringstream lines(read_text(folder / "scalars.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (!json.contains("val.measure")) continue;
    const TensorMap kept = tensors(folder, json.at("step"), "ema.safetensors");
    EXPECT_EQ(json.at("val.measure").get<double>(), get(kept, "head.weight").sum().item<double>());
  }
  EXPECT_TRUE(
      at::equal(model->head->weight, get(tensors(folder, 4, "model.safetensors"), "head.weight")));
  // So test and predict take it; the folder's own weights remain a file's choice.
  EXPECT_EQ(fs::path(weights_of(folder.path())).filename(), "ema.safetensors");
  EXPECT_EQ(weights_of(folder / "step_4"), folder / "step_4/ema.safetensors");
  StubModel served;
  EXPECT_TRUE(io::load_state(served, tensors(folder, 4, "ema.safetensors"), "ema").complete());
}

TEST(Ema, CanStayOutOfValidation) {
  const TempDir folder;
  StubRun run(folder.path(), 2);
  run.hooks = {{"ema", "type = \"EMAHook\"\nevaluate = false\nbegin = 2"}};
  run.make().run();
  EXPECT_EQ(weights_of(folder / "step_2"), folder / "step_2/model.safetensors");
  // Up to `begin` it is a copy.
  EXPECT_TRUE(at::equal(get(tensors(folder, 2, "model.safetensors"), "head.weight"),
                        get(tensors(folder, 2, "ema.safetensors"), "head.weight")));
}

TEST(Ema, TrainingDoesNotSeeIt) {
  const TempDir with, without;
  StubRun run(with.path());
  run.hooks = {{"ema", "type = \"EMAHook\""}};
  run.make().run();
  run.settings.work_dir = without.path();
  run.hooks.clear();
  run.make().run();
  EXPECT_TRUE(read_text(with / "step_12/model.safetensors") ==
              read_text(without / "step_12/model.safetensors"));
}

TEST(Ema, SeveralGiveTheWeightsBackInTurn) {
  const TempDir with, without;
  StubRun run(with.path());
  run.hooks = {{"fast", "type = \"EMAHook\"\nmomentum = 0.5"},
               {"slow", "type = \"EMAHook\"\nmomentum = 0.01"}};
  run.make().run();
  run.settings.work_dir = without.path();
  run.hooks.clear();
  run.make().run();
  EXPECT_TRUE(read_text(with / "step_12/model.safetensors") ==
              read_text(without / "step_12/model.safetensors"));
}

TEST(Ema, AHookThatIsInterruptedGivesTheWeightsBack) {
  struct Failing final : StubModel {
    Outputs predict(const Batch&) override { throw DataError("no such picture"); }
  };
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.hooks = {{"ema", "type = \"EMAHook\"\nmomentum = 0.5"}};
  auto model = std::make_shared<Failing>();
  EXPECT_THROW(run.make(model).run(), DataError);
  const TempDir plain;
  run.hooks.clear();
  run.settings.work_dir = plain.path();
  run.make().run();
  EXPECT_TRUE(
      at::equal(model->head->weight, get(tensors(plain, 4, "model.safetensors"), "head.weight")));
}

TEST(Hooks, MayNotTakeTheNameOfAFile) {
  const TempDir folder;
  StubRun run(folder.path(), 2);
  run.hooks = {{"optimizer", "type = \"EMAHook\""}};
  EXPECT_EQ(tests::message_of([&] { run.make(); }),
            "hooks.optimizer: a checkpoint has a file of this name; choose another");
}

TEST(Csv, IsTheTableOfTheScalars) {
  const TempDir folder;
  StubRun run(folder.path(), 4);
  run.settings.train.log_interval = 2;
  run.scores = {0.5};
  run.hooks = {{"table", "type = \"CSVHook\""}};
  run.make().run();
  std::istringstream lines(read_text(folder / "scalars.csv"));
  std::vector<std::string> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(line);
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[0], "step,epoch,lr,loss,head.loss_ce,head.acc_seg,val.accuracy,val.error");
  EXPECT_EQ(rows[1].rfind("2,0,", 0), 0U);
  EXPECT_EQ(rows[1].substr(rows[1].size() - 2), ",,");  // not validated
  EXPECT_EQ(rows[2].rfind("4,1,", 0), 0U);
  EXPECT_EQ(rows[2].substr(rows[2].size() - 8), ",0.5,0.5");
}

std::vector<std::string> event_files(const TempDir& folder) {
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(folder / "tensorboard")) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

TEST(Visualization, DrawsImagesTruthPredictionAndDifference) {
  const TempDir folder;
  StubRun run(folder.path());
  run.hooks = {{"draw", "type = \"VisualizationHook\"\ninterval = 2\nsamples = 1"}};
  run.make().run();
  // Three validations: the first and the third have pictures, of one of two samples.
  EXPECT_TRUE(fs::exists(folder / "pictures/step_4/1000a.png"));
  EXPECT_FALSE(fs::exists(folder / "pictures/step_8"));
  EXPECT_TRUE(fs::exists(folder / "pictures/step_12/1000a.png"));
  EXPECT_FALSE(fs::exists(folder / "pictures/step_12/1000b.png"));
  const at::Tensor picture = io::read_image(folder / "pictures/step_12/1000a.png");
  EXPECT_EQ(picture.sizes(), (at::IntArrayRef{6, 4 * 5 + 3 * 4, 3}));
  const Batch batch = tests::stub_batch(1000);
  const at::Tensor image = batch.images[0][0].permute({1, 2, 0});
  EXPECT_TRUE(at::equal(picture.narrow(1, 0, 5), image));
  // Truth: half its colour over the image, red for class 1 and black for class 0.
  const at::Tensor truth = batch.targets.at("change").data[0].unsqueeze(2);
  const at::Tensor colour = at::tensor({255, 0, 0}, at::kFloat) * truth;
  const at::Tensor mixed = (0.5 * image.to(at::kFloat) + 0.5 * colour).round().to(at::kByte);
  EXPECT_LE((picture.narrow(1, 9, 5).to(at::kInt) - mixed.to(at::kInt)).abs().max().item<int>(), 1);
}

// The interrupted validation is done again: it must not have counted.
TEST(Visualization, GoesOnAfterAnInterruptedValidation) {
  struct Interrupting final : StubModel {
    Outputs predict(const Batch& batch) override {
      std::raise(SIGTERM);
      return StubModel::predict(batch);
    }
  };
  const TempDir straight, broken;
  StubRun run(straight.path());
  run.hooks = {{"draw", "type = \"VisualizationHook\"\ninterval = 2\nsamples = 1"}};
  run.make().run();
  run.settings.work_dir = broken.path();
  EXPECT_EQ(run.make(std::make_shared<Interrupting>()).run(), RunEnd::interrupted);
  run.settings.resume = broken / "step_4";
  EXPECT_EQ(run.make().run(), RunEnd::finished);
  tests::expect_same_run(straight.path(), broken.path(), 12);
  EXPECT_FALSE(fs::exists(broken / "pictures/step_8"));
  EXPECT_TRUE(fs::exists(broken / "pictures/step_12/1000a.png"));
}

TEST(Tensorboard, HasScalarsAndPictures) {
  const TempDir folder;
  StubRun run(folder.path());
  run.hooks = {{"draw", "type = \"VisualizationHook\""}};
  run.settings.train.stop_at = 8;
  const auto go = [&] {
    auto runner = run.make(std::make_shared<StubModel>(),
                           {{"tensorboard", std::make_shared<TensorboardHook>()}});
    runner.run();
  };
  go();
  ASSERT_EQ(event_files(folder).size(), 1U);
  const std::string events = read_text(event_files(folder).front());
  EXPECT_EQ(events.substr(23, 13), "brain.Event:2");
  for (const char* tag : {"lr", "head.loss_ce", "val.accuracy", "1000a", "1000b"}) {
    EXPECT_NE(events.find(tag), std::string::npos) << tag;
  }
  EXPECT_NE(events.find("\x89PNG"), std::string::npos);
  run.settings.train.stop_at.reset();
  run.settings.resume = folder / "step_8";
  go();
  EXPECT_EQ(event_files(folder).size(), 2U);
}

TEST(Profiler, WritesATrace) {
  const TempDir folder;
  StubRun run(folder.path(), 6);
  run.hooks = {{"profile", "type = \"ProfilerHook\"\nbegin = 2\nsteps = 2"}};
  run.make().run();
  const auto trace = nlohmann::json::parse(read_text(folder / "trace.json"));
  std::size_t convolutions = 0;
  for (const auto& event : trace.at("traceEvents")) {
    convolutions += event.value("name", "") == "aten::conv2d";
  }
  EXPECT_EQ(convolutions, 4U);  // two a step
  EXPECT_NE(read_text(folder / "train.log").find("hooks.profile: "), std::string::npos);
  EXPECT_NE(read_text(folder / "train.log").find(" calls  aten::"), std::string::npos);
}

TEST(Hooks, RunByPriority) {
  struct Recorder final : Hook {
    Recorder(int priority, std::string& order) : priority_(priority), order_(order) {}
    int priority() const override { return priority_; }
    void after_run(RunState&) override { order_ += std::to_string(priority_) + " "; }
    int priority_;
    std::string& order_;
  };
  const TempDir folder;
  StubRun run(folder.path(), 1);
  std::string order;
  run.make(std::make_shared<StubModel>(), {{"a", std::make_shared<Recorder>(90, order)},
                                           {"b", std::make_shared<Recorder>(10, order)},
                                           {"c", std::make_shared<Recorder>(50, order)}})
      .run();
  EXPECT_EQ(order, "10 50 90 ");
  EXPECT_NE(read_text(folder / "train.log").find("hooks by priority: b (10), c (50), a (90)"),
            std::string::npos);
}

}  // namespace
}  // namespace strata::engine
