// benchmark: what a config costs: training steps and predictions on one fixed batch, and loading.
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/base/files.hpp"
#include "framework/engine/progress.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/serving.hpp"
#include "framework/nn/fold_cache.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

struct BenchmarkArguments : ConfigArguments {
  std::vector<std::string> modes{"train", "infer", "loader"};
  std::string json;
  std::int64_t steps = 20, warmup = 3;
  std::int64_t batch = 0;          // 0: data.train.batch_size
  std::vector<std::int64_t> size{256, 256};
};

/// Normalised images and a random map of every label: what a step costs without its data.
Batch fixed_batch(const Experiment& experiment, const BenchmarkArguments& a, std::int64_t dates) {
  const std::int64_t height = a.size[0], width = a.size[1];
  Batch batch;
  batch.preprocessed = true;
  for (std::int64_t date = 0; date < dates; ++date) {
    batch.images.push_back(at::randn({a.batch, experiment.data.channels, height, width}));
  }
  for (const LabelSpec& label : experiment.labels.all()) {
    batch.targets[label.name] = {
        at::randint(label.num_classes(), {a.batch, height, width}, at::kLong), label};
  }
  batch.meta.resize(static_cast<std::size_t>(a.batch));
  for (SampleMeta& meta : batch.meta) {
    meta.height = meta.original_height = height;
    meta.width = meta.original_width = width;
  }
  return batch;
}

struct Measured {
  std::string mode;
  std::vector<double> seconds;  // of each step after the warm-up
  std::int64_t images = 0;      // of a step
  std::int64_t peak_mib = 0;    // of the process so far
  double grown_mib = 0;         // of that, above what was resident before the first step
};

template <class Body>
Measured measure(const std::string& mode, const BenchmarkArguments& a, c10::Device device,
                 const Body& body) {
  using Clock = std::chrono::steady_clock;
  const double resident = engine::resident_memory_mib();
  Measured measured;
  measured.mode = mode;
  measured.images = a.batch;
  for (std::int64_t step = 0; step < a.warmup + a.steps; ++step) {
    const auto begin = Clock::now();
    body(step);
    if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
    if (step < a.warmup) continue;
    measured.seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  measured.peak_mib = engine::peak_memory_mib();
  measured.grown_mib = std::max(static_cast<double>(measured.peak_mib) - resident, 0.0);
  return measured;
}

Measured measure_train(const Experiment& experiment, const BenchmarkArguments& a, Model& model,
                       const Batch& batch, c10::Device device) {
  const auto freezer = engine::build_freezer(experiment, model);
  const auto trainers =
      engine::build_trainers(experiment, model, freezer.get(), a.warmup + a.steps);
  model.train();
  if (freezer) {
    freezer->apply(0);
    freezer->fix_modes(0);
  }
  TrainContext context;
  return measure("train", a, device, [&](std::int64_t step) {
    context.step_number = step;
    model.train_step(batch, context);
    for (const engine::Trainer& trainer : trainers) {
      trainer.optimizer->step(trainer.schedule ? trainer.schedule->factor(step) : 1.0);
      trainer.optimizer->zero_grad();
    }
  });
}

Measured measure_infer(const BenchmarkArguments& a, Model& model, const Batch& batch,
                       c10::Device device) {
  model.eval();
  const c10::InferenceMode guard;
  // As test and predict serve it: batch norms are folded once.
  nn::FoldCache folds;
  const nn::FoldCache::Use use(&folds);
  return measure("infer", a, device, [&](std::int64_t) { model.predict(batch); });
}

/// Batches of data.train as training takes them, as fast as they come.
Measured measure_loader(const Experiment& experiment, const BenchmarkArguments& a) {
  const auto loader =
      engine::make_loader(experiment, *experiment.data.train, /*training=*/true);
  Measured measured =
      measure("loader", a, c10::kCPU, [&](std::int64_t) { loader->next(); });
  measured.images = experiment.data.train->batch_size;
  return measured;
}

/// Linear between neighbours, as numpy.percentile.
double percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(place));
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

double images_per_second(const Measured& m) {
  double total = 0.0;
  for (const double seconds : m.seconds) total += seconds;
  return static_cast<double>(m.images) * static_cast<double>(m.seconds.size()) / total;
}

nlohmann::ordered_json as_json(const Measured& m) {
  return {{"seconds", m.seconds},
          {"median", percentile(m.seconds, 0.5)},
          {"p10", percentile(m.seconds, 0.1)},
          {"p90", percentile(m.seconds, 0.9)},
          {"p99", percentile(m.seconds, 0.99)},
          {"images_per_second", images_per_second(m)},
          {"peak_mib", m.peak_mib},
          {"grown_mib", m.grown_mib}};
}

void print(const Measured& m) {
  fmt::print("{:<8} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f} {:>10.1f} {:>10}\n", m.mode,
             1e3 * percentile(m.seconds, 0.5), 1e3 * percentile(m.seconds, 0.1),
             1e3 * percentile(m.seconds, 0.9), 1e3 * percentile(m.seconds, 0.99),
             images_per_second(m), m.peak_mib);
}

int benchmark(BenchmarkArguments& a) {
  const Loaded loaded = load_to_run(a);
  const Experiment& experiment = loaded.experiment;
  const bool loads = std::count(a.modes.begin(), a.modes.end(), "loader") > 0;
  const bool computes = a.modes.size() > (loads ? 1U : 0U);
  const bool trains = std::count(a.modes.begin(), a.modes.end(), "train") > 0;
  if (loads && !experiment.data.train) {
    throw UserError(a.config + ": data.train: is missing: there is nothing to load; leave out "
                               "--mode loader");
  }
  if (trains && experiment.optimizer.sets.empty()) {
    throw UserError(a.config + ": optimizer: is missing: training needs one; leave out --mode train");
  }
  const c10::Device device = engine::device_of(experiment);
  const bool channels_last = engine::wants_channels_last(experiment);
  if (a.batch == 0) a.batch = experiment.data.train ? experiment.data.train->batch_size : 1;

  nlohmann::ordered_json json = {{"config", a.config},
                                 {"device", device.str()},
                                 {"threads", at::get_num_threads()},
                                 {"channels_last", channels_last},
                                 {"batch", a.batch},
                                 {"size", a.size}};
  fmt::print("{}: batches of {} x {} x {} x {} on {}, {} threads{}\n", a.config, a.batch,
             experiment.data.channels, a.size[0], a.size[1], device.str(), at::get_num_threads(),
             channels_last ? ", channels-last" : "");
  fmt::print("{:<8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "", "median ms", "p10", "p90",
             "p99", "images/s", "peak MiB");
  const auto report = [&](const Measured& measured) {
    print(measured);
    std::fflush(stdout);
    json[measured.mode] = as_json(measured);
  };
  std::shared_ptr<Segmentor> model;
  Batch batch;
  if (computes) {
    model = experiment.build_model();
    std::int64_t parameters = 0;
    for (const auto& parameter : model->parameters()) parameters += parameter.numel();
    json["parameters"] = parameters;
    inference::place(*model, device, channels_last);
    batch = inference::to_device(fixed_batch(experiment, a, model->dates()), device, channels_last);
  }
  for (const std::string& mode : a.modes) {
    if (mode == "train") report(measure_train(experiment, a, *model, batch, device));
    if (mode == "infer") report(measure_infer(a, *model, batch, device));
    if (mode == "loader") report(measure_loader(experiment, a));
  }
  if (!a.json.empty()) write_text(a.json, json.dump(1) + "\n");
  return kOk;
}

}  // namespace

int run_benchmark(int argc, char** argv) {
  CLI::App app("Times training steps, predictions and loading of a config.", "benchmark");
  BenchmarkArguments a;
  add_config(app, a);
  add_device(app, a);
  app.add_option("--mode", a.modes, "what to time; default: all three")
      ->check(CLI::IsMember({"train", "infer", "loader"}))
      ->expected(1, 3)
      ->take_all();
  app.add_option("--batch", a.batch, "images in a step; default: data.train.batch_size")
      ->check(CLI::PositiveNumber);
  app.add_option("--size", a.size, "height and width of the images")
      ->expected(2)
      ->check(CLI::PositiveNumber);
  app.add_option("--steps", a.steps, "steps that count")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--warmup", a.warmup, "steps before them that do not")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--json", a.json, "also write every step's seconds and the summary here")
      ->type_name("FILE");
  return run_tool(app, argc, argv, [&] { return benchmark(a); });
}

}  // namespace strata::tools
