// A run small enough for tests: a model of a few parameters with batch norm and dropout, batches
// that depend on their number alone.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/files.hpp"
#include "framework/base/philox.hpp"
#include "framework/data/loader.hpp"
#include "framework/engine/runner.hpp"
#include "framework/inference/serving.hpp"
#include "tests/support/build.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {

struct StubModel : Model {
  StubModel() {
    backbone = register_module("backbone",
                               torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3).padding(1)));
    bn = register_module("bn", torch::nn::BatchNorm2d(4));
    drop = register_module("drop", torch::nn::Dropout(0.3));
    head = register_module("head", torch::nn::Conv2d(torch::nn::Conv2dOptions(4, 2, 1)));
    // The same start for every model, whatever was drawn before.
    Philox random(7);
    const at::NoGradGuard no_grad;
    for (at::Tensor& parameter : parameters()) {
      at::Tensor flat = at::empty({parameter.numel()});
      auto* values = flat.data_ptr<float>();
      for (std::int64_t i = 0; i < flat.numel(); ++i) {
        values[i] = static_cast<float>(0.3 * random.normal());
      }
      parameter.copy_(flat.reshape(parameter.sizes()));
    }
  }
  at::Tensor logits(const Batch& batch) {
    return head(drop(at::relu(bn(backbone(batch.images.at(0).to(at::kFloat) / 255.0)))));
  }
  Losses loss(const Batch& batch, TrainContext&) override {
    Losses losses;
    const at::Tensor out = logits(batch), truth = batch.targets.at("change").data;
    losses.add("head.loss_ce", at::cross_entropy_loss(out, truth));
    losses.log("head.acc_seg", 100.0 * (out.argmax(1) == truth).to(at::kFloat).mean());
    if (poison_at >= 0 && poison_at-- == 0) losses.add("head.loss_bad", out.sum() / 0.0);
    return losses;
  }
  Outputs predict(const Batch& batch) override {
    Output output;
    output.data = logits(batch);
    output.target = "change";
    return {{"logits", output}};
  }
  torch::nn::Conv2d backbone{nullptr}, head{nullptr};
  torch::nn::BatchNorm2d bn{nullptr};
  torch::nn::Dropout drop{nullptr};
  std::int64_t poison_at = -1;  // steps until the loss is infinite
};

inline const LabelSpec& stub_label() {
  static const LabelSpec label{"change", {"same", "other"}, {{0, 0, 0}, {255, 0, 0}}};
  return label;
}

inline Batch stub_batch(std::int64_t number) {
  Philox random(11, static_cast<std::uint64_t>(number));
  Batch batch;
  at::Tensor image = at::empty({2, 3, 6, 5}, at::kByte), truth = at::empty({2, 6, 5}, at::kLong);
  auto* pixels = image.data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < image.numel(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(random.integer(0, 255));
  }
  truth.copy_((image.select(1, 0) > 127).to(at::kLong));
  batch.images = {image};
  batch.targets["change"] = {truth, stub_label()};
  for (const char* half : {"a", "b"}) {
    SampleMeta meta;
    meta.name = std::to_string(number) + half;
    meta.paths = {"pictures/" + meta.name + ".png"};
    batch.meta.push_back(meta);
  }
  return batch;
}

/// Ten pictures in memory, of which a transform cuts a window anywhere.
class StubDataset final : public Dataset {
 public:
  std::int64_t size() const override { return 10; }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  Sample read(std::int64_t index) const override {
    Philox random(13, static_cast<std::uint64_t>(index));
    Sample sample;
    at::Tensor image = at::empty({8, 7, 3}, at::kByte);
    auto* pixels = image.data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < image.numel(); ++i) {
      pixels[i] = static_cast<std::uint8_t>(random.integer(0, 255));
    }
    sample.targets["change"] = {(image.select(2, 0) > 127).to(at::kByte), &stub_label()};
    sample.images = {image};
    sample.meta.name = name(index);
    return sample;
  }
};

struct StubCrop final : Transform {
  void apply(Sample& sample, Philox& random) const override {
    const std::int64_t top = random.integer(0, 2), left = random.integer(0, 2);
    const auto cut = [&](at::Tensor& map) {
      map = map.narrow(0, top, 6).narrow(1, left, 5).contiguous();
    };
    cut(sample.images[0]);
    cut(sample.targets["change"].map);
  }
};

/// The real loader over it.
class LoadedBatches final : public engine::BatchSource {
 public:
  explicit LoadedBatches(std::int64_t workers)
      : loader_(std::make_shared<StubDataset>(), {std::make_shared<StubCrop>()},
                make_shuffled_sampler(10, 5),
                LoaderOptions{.batch_size = 2, .workers = workers, .seed = 5}) {}
  Batch next() override { return *loader_.next(); }
  void seek(std::int64_t batch) override { loader_.seek(2 * batch); }

 private:
  Loader loader_;
};

class StubBatches final : public engine::BatchSource {
 public:
  Batch next() override {
    ++taken_;
    return stub_batch(number_++);
  }
  void seek(std::int64_t batch) override { number_ = batch; }
  /// As if each had taken a second.
  double seconds_waited() const override { return static_cast<double>(taken_); }

 private:
  std::int64_t number_ = 0, taken_ = 0;
};

struct StubRun {
  std::string optimizer = "type = \"AdamW\"\nlr = 0.01\nweight_decay = 0.01";
  std::string schedule = "type = \"PolyLR\"\nwarmup = 3";
  std::vector<FreezeRule> freeze;
  std::vector<std::pair<std::string, std::string>> hooks;
  engine::RunSettings settings;
  std::vector<double> scores;                 // given out one a validation; then their last
  std::function<double(StubModel&)> measure;  // a score besides
  std::optional<std::int64_t> workers;        // batches come from the real loader

  explicit StubRun(const std::string& work_dir, std::int64_t steps = 12) {
    settings.work_dir = work_dir;
    settings.steps = steps;
    settings.samples_in_epoch = 8;
    settings.batch_size = 2;
    settings.validation_interval = 4;
    settings.train.log_interval = 3;
    settings.seed = 5;
    settings.config = "# resolved\n";
  }

  using MadeHooks = std::vector<std::pair<std::string, std::shared_ptr<Hook>>>;
  engine::Runner make(std::shared_ptr<StubModel> model = std::make_shared<StubModel>(),
                      const MadeHooks& more = {}) {
    engine::RunParts parts;
    parts.model = model;
    inference::place(*model, c10::kCPU, settings.channels_last);
    parts.freezer = std::make_unique<optim::Freezer>(freeze, *model);
    const auto slot = slot_of<Optimizer>(optimizer);
    const OptimizerOptions& common = slot.ask(&Optimizer::Statics::common);
    const auto plan = optim::plan_groups(optim::parameters_of(*model), common, parts.freezer.get());
    parts.trainers.push_back(
        {"", slot.build({plan.groups}),
         slot_of<Schedule>(schedule).build(
             {.steps = settings.steps, .base_lr = common.lr, .steps_in_epoch = 4.0})});
    parts.batches = std::make_unique<StubBatches>();
    if (workers) parts.batches = std::make_unique<LoadedBatches>(*workers);
    for (const auto& [name, toml] : hooks) {
      parts.hooks.emplace_back(name, slot_of<Hook>(toml).build({name}));
    }
    parts.hooks.insert(parts.hooks.end(), more.begin(), more.end());
    parts.validate = [model, scores = scores, measure = measure](
                         const auto&, const engine::RunParts::Visitor& visit) mutable {
      double first = 0.0;
      visit("", stub_batch(1000), model->predict(stub_batch(1000)));
      if (scores.empty()) {
        const Batch batch = stub_batch(1000);
        const at::Tensor hits = model->logits(batch).argmax(1) == batch.targets.at("change").data;
        first = hits.to(at::kDouble).mean().template item<double>();
      } else {
        first = scores.front();
        if (scores.size() > 1) scores.erase(scores.begin());
      }
      Scores all{{"accuracy", first}, {"error", 1.0 - first}};
      if (measure) all.emplace_back("measure", measure(*model));
      return all;
    };
    parts.tables = [] { return std::string("class  IoU\nsame   0.5"); };
    return engine::Runner(std::move(parts), settings);
  }
};

/// Files of two runs that must be the same bytes: all of a checkpoint, and the scalars.
inline void expect_same_run(const std::string& a, const std::string& b, std::int64_t step) {
  namespace fs = std::filesystem;
  const std::string folder = "/step_" + std::to_string(step);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(a + folder)) {
    names.push_back(folder + "/" + entry.path().filename().string());
  }
  EXPECT_GE(names.size(), 5U);
  names.emplace_back("/scalars.jsonl");
  if (fs::exists(a + "/scalars.csv")) names.emplace_back("/scalars.csv");
  for (const std::string& name : names) {
    EXPECT_TRUE(read_text(a + name) == read_text(b + name)) << name;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(b + folder), fs::directory_iterator()),
            static_cast<std::ptrdiff_t>(names.size() - (fs::exists(a + "/scalars.csv") ? 2 : 1)));
}

}  // namespace strata::tests
