// VLCD of both forms on samples of LEVIR-CD, as benchmarks/levir_*.toml have them: real pairs are
// learned, larger pictures are predicted in windows, and it does not matter how a label is written.
// benchmarks/levir_overfit.py does it at full length.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "framework/engine/session.hpp"
#include "framework/inference/predictor.hpp"
#include "framework/io/image.hpp"
#include "framework/io/weights.hpp"
#include "tests/support/build.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::levir {
namespace {

namespace fs = std::filesystem;
using Sets = std::vector<std::string>;

Experiment load(const std::string& form, const std::string& root, const Sets& sets = {}) {
  static Registry* registry = [] {
    auto* made = new Registry;
    register_builtin_components(*made);
    return made;
  }();
  Sets all = {"vars.root=\"" + root + "\"", "data.train.workers=0", "data.val.workers=0",
              "data.test.workers=0"};
  all.insert(all.end(), sets.begin(), sets.end());
  return load_experiment(STRATA_SOURCE_DIR "/benchmarks/levir_" + form + ".toml", all, *registry);
}

// A quarter of the pictures' sides: what is to be shown does not need more.
Sets small() {
  const std::string resize = "transforms=[{type=\"Resize\", size=[64, 64]}]";
  return {"data.train." + resize, "data.val." + resize, "data.test." + resize};
}

struct Trained {
  std::vector<double> losses;
  std::shared_ptr<Segmentor> model;
};

Trained train(const Experiment& experiment, int steps) {
  at::manual_seed(5);
  Trained run{{}, experiment.build_model()};
  const auto trainers = engine::build_trainers(experiment, *run.model, nullptr, steps);
  const auto loader = engine::make_loader(experiment, *experiment.data.train, /*training=*/true);
  run.model->train();
  TrainContext context;
  for (int step = 0; step < steps; ++step) {
    trainers.front().optimizer->zero_grad();
    const Losses losses = run.model->train_step(*loader->next(), context);
    run.losses.push_back(losses.total().item<double>());
    trainers.front().optimizer->step(1.0);
  }
  run.model->eval();
  return run;
}

inference::Predictor predictor(const Experiment& experiment,
                               const std::shared_ptr<Segmentor>& model) {
  model->eval();
  return inference::Predictor({engine::member_of(experiment, model)}, experiment.labels);
}

struct Scores {
  std::int64_t samples = 0;
  double f1 = 0;
};

/// Of changed pixels, over all samples of a split.
Scores score(const Experiment& experiment, const SplitOptions& split, const Trained& run) {
  const at::NoGradGuard no_grad;
  const auto served = predictor(experiment, run.model);
  const auto loader = engine::make_loader(experiment, split, /*training=*/false);
  Scores scores;
  std::int64_t both = 0, either = 0;
  while (const auto batch = loader->next()) {
    const at::Tensor found = labels(served.predict(*batch).front().second);
    const at::Tensor& wanted = batch->targets.at("change").data;
    EXPECT_EQ(found.sizes(), wanted.sizes());
    scores.samples += batch->size();
    both += found.eq(1).logical_and(wanted.eq(1)).sum().item<std::int64_t>();
    either += found.eq(1).sum().item<std::int64_t>() + wanted.eq(1).sum().item<std::int64_t>();
  }
  scores.f1 = either == 0 ? 0 : 2.0 * static_cast<double>(both) / static_cast<double>(either);
  return scores;
}

class LevirSamples : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (samples_.empty()) {
      GTEST_SKIP() << "no real data: set STRATA_SHARED to the folder that holds data/levir_samples";
    }
  }
  const std::string samples_ = tests::shared_data("levir_samples");
};

TEST_P(LevirSamples, AreLearned) {
  Sets sets = small();
  sets.emplace_back("optimizer.lr=2e-3");
  const Experiment experiment = load(GetParam(), samples_, sets);
  const Trained run = train(experiment, 40);
  EXPECT_LT(run.losses.back(), 0.3 * run.losses.front());
  const Scores learned = score(experiment, experiment.data.val.sets.front().second, run);
  EXPECT_EQ(learned.samples, 4);
  EXPECT_GT(learned.f1, 0.5);
  const Scores unseen = score(experiment, experiment.data.test.sets.front().second, run);
  EXPECT_EQ(unseen.samples, 7);
  std::printf("%s: loss %.3f to %.3f, F1 %.3f of what was seen, %.3f of what was not\n",
              GetParam().c_str(), run.losses.front(), run.losses.back(), learned.f1, unseen.f1);
}

// Four pairs side by side are a pair of 512 x 512; the config's windows have 256.
TEST_P(LevirSamples, SlidesOverLargerPictures) {
  Experiment experiment = load(GetParam(), samples_, {"evaluate.inference.stride=[256, 256]"});
  const auto model = experiment.build_model();
  const auto loader =
      engine::make_loader(experiment, experiment.data.val.sets.front().second, false);
  Batch single = *loader->next();
  for (auto more = loader->next(); more; more = loader->next()) {
    for (std::size_t d = 0; d < 2; ++d) {
      single.images[d] = at::cat({single.images[d], more->images[d]});
    }
    single.meta.insert(single.meta.end(), more->meta.begin(), more->meta.end());
  }
  single.targets.clear();
  ASSERT_EQ(single.size(), 4);
  ASSERT_EQ(single.height(), 256);
  const auto joined = [](const at::Tensor& four) {
    return at::cat({at::cat({four[0], four[1]}, -1), at::cat({four[2], four[3]}, -1)}, -2)
        .unsqueeze(0);
  };
  Batch large;
  for (const at::Tensor& images : single.images) large.images.push_back(joined(images));
  large.meta.resize(1);
  large.meta[0].height = large.meta[0].width = 512;

  const at::NoGradGuard no_grad;
  const auto served = predictor(experiment, model);
  const at::Tensor whole = model->predict(single).front().second.data;
  Batch first = single;
  for (at::Tensor& images : first.images) images = images.narrow(0, 0, 1);
  first.meta.resize(1);
  EXPECT_TRUE(at::equal(served.predict(first).front().second.data,
                        model->predict(first).front().second.data))
      << "a window covers the picture";
  const at::Tensor slid = served.predict(large).front().second.data;
  EXPECT_EQ(slid.sizes(), (at::IntArrayRef{1, 2, 512, 512}));
  EXPECT_TRUE(at::allclose(slid, joined(whole), 1e-4, 1e-5)) << "windows side by side";
}

TEST_P(LevirSamples, OfBothKindsOfLabelsTrainTheSameModel) {
  const tests::TempDir dir;
  for (const char* split : {"train", "test"}) {
    const fs::path from = fs::path(samples_) / split, to = fs::path(dir.path()) / split;
    for (const char* part : {"A", "B"}) {
      fs::create_directories(to);
      fs::create_directory_symlink(from / part, to / part);
    }
    for (const auto& file : fs::directory_iterator(from / "label")) {
      const at::Tensor label = io::read_image(file.path().string(), io::Channels::as_stored);
      EXPECT_TRUE(label.eq(0).logical_or(label.eq(255)).all().item<bool>());
      io::write_png(dir / (std::string(split) + "/label/" + file.path().filename().string()),
                    label.div(255, "floor"));
    }
  }
  std::vector<TensorMap> states;
  std::vector<double> scores;
  for (const std::string& root : {samples_, dir.path()}) {
    const Experiment experiment = load(GetParam(), root, small());
    const Trained run = train(experiment, 2);
    states.push_back(io::state_of(*run.model));
    scores.push_back(score(experiment, experiment.data.test.sets.front().second, run).f1);
  }
  ASSERT_EQ(states[0].size(), states[1].size());
  for (std::size_t i = 0; i < states[0].size(); ++i) {
    EXPECT_TRUE(at::equal(states[0][i].second, states[1][i].second)) << states[0][i].first;
  }
  EXPECT_EQ(scores[0], scores[1]);
}

INSTANTIATE_TEST_SUITE_P(Forms, LevirSamples, testing::Values("r50", "vit-b16"),
                         [](const auto& form) {
                           return form.param == "r50" ? "ResNets" : "Transformers";
                         });

}  // namespace
}  // namespace strata::levir
