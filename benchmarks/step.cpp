// bench_step CONFIG: seconds of training steps or predictions on one fixed batch, no data loading.
// Prints one line of JSON; step.py pairs it with PyTorch.
#include <ATen/Parallel.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/engine/session.hpp"
#include "framework/inference/serving.hpp"
#include "registry/builtin.hpp"

namespace strata {
namespace {

struct Arguments {
  std::string config, mode = "train";
  std::vector<std::string> overrides;
  std::int64_t steps = 10, warmup = 3, batch = 4, size = 256;
};

/// Normalised images and a random map of every label.
Batch fixed_batch(const Experiment& experiment, const Arguments& a, std::int64_t dates) {
  Batch batch;
  batch.preprocessed = true;
  for (std::int64_t date = 0; date < dates; ++date) {
    batch.images.push_back(at::randn({a.batch, experiment.data.channels, a.size, a.size}));
  }
  for (const LabelSpec& label : experiment.labels.all()) {
    batch.targets[label.name] = {
        at::randint(label.num_classes(), {a.batch, a.size, a.size}, at::kLong), label};
  }
  batch.meta.resize(static_cast<std::size_t>(a.batch));
  for (SampleMeta& meta : batch.meta) {
    meta.height = meta.width = meta.original_height = meta.original_width = a.size;
  }
  return batch;
}

template <class Body>
std::vector<double> timed(const Arguments& a, const Body& body) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (std::int64_t i = 0; i < a.warmup + a.steps; ++i) {
    const auto begin = Clock::now();
    body(i);
    if (i >= a.warmup) {
      seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    }
  }
  return seconds;
}

void run(const Arguments& a) {
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(a.config, a.overrides, registry);
  engine::apply_runtime(experiment);
  const c10::Device device(experiment.runtime.device);
  const bool channels_last = engine::wants_channels_last(experiment);
  auto model = experiment.build_model();
  inference::place(*model, device, channels_last);
  const Batch batch =
      inference::to_device(fixed_batch(experiment, a, model->dates()), device, channels_last);
  std::vector<double> seconds;
  if (a.mode == "train") {
    const auto trainers = engine::build_trainers(experiment, *model, nullptr, a.warmup + a.steps);
    model->train();
    TrainContext context;
    seconds = timed(a, [&](std::int64_t step) {
      context.step_number = step;
      model->train_step(batch, context);
      for (const engine::Trainer& trainer : trainers) {
        trainer.optimizer->step(trainer.schedule ? trainer.schedule->factor(step) : 1.0);
        trainer.optimizer->zero_grad();
      }
    });
  } else {
    model->eval();
    const c10::InferenceMode guard;
    seconds = timed(a, [&](std::int64_t) { model->predict(batch); });
  }
  std::int64_t parameters = 0;
  for (const auto& parameter : model->parameters()) parameters += parameter.numel();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const nlohmann::json line = {{"seconds", seconds},
                               {"parameters", parameters},
                               {"threads", at::get_num_threads()},
                               {"peak_mib", static_cast<double>(usage.ru_maxrss) / 1024}};
  std::printf("RESULT %s\n", line.dump().c_str());
}

}  // namespace
}  // namespace strata

int main(int argc, char** argv) {
  strata::Arguments a;
  CLI::App app("Seconds of steps on one fixed batch.", "bench_step");
  app.add_option("config", a.config)->required();
  app.add_option("--mode", a.mode)->check(CLI::IsMember({"train", "infer"}));
  app.add_option("--set", a.overrides)->expected(1)->take_all()->allow_extra_args(false);
  app.add_option("--steps", a.steps);
  app.add_option("--warmup", a.warmup);
  app.add_option("--batch", a.batch);
  app.add_option("--size", a.size);
  CLI11_PARSE(app, argc, argv);
  try {
    strata::run(a);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
