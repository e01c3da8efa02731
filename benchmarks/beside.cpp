// bench_beside CONFIG: training steps on one batch that is there, and on batches that the loader
// makes beside them, in turns of a few steps. Prints one line of JSON; beside.py compares.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/base/memory.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/serving.hpp"
#include "registry/builtin.hpp"

namespace strata {
namespace {

void run(const std::string& config, const std::vector<std::string>& overrides, std::int64_t turns,
         std::int64_t steps, std::int64_t warmup) {
  using Clock = std::chrono::steady_clock;
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(config, overrides, registry);
  engine::apply_runtime(experiment);
  const c10::Device device = engine::device_of(experiment);
  const bool channels_last = engine::wants_channels_last(experiment);
  const auto model = experiment.build_model();
  inference::place(*model, device, channels_last);
  const std::int64_t all = warmup + 2 * turns * steps;
  const auto trainers = engine::build_trainers(experiment, *model, nullptr, all);
  model->train();
  const auto loader = engine::make_loader(experiment, *experiment.data.train, /*training=*/true);
  auto taken = [&] { return inference::to_device(*loader->next(), device, channels_last); };
  const Batch fixed = taken();
  TrainContext context;
  auto step = [&](const Batch& batch) {
    model->train_step(batch, context);
    for (const engine::Trainer& trainer : trainers) {
      trainer.optimizer->step(trainer.schedule ? trainer.schedule->factor(context.step_number)
                                               : 1.0);
      trainer.optimizer->zero_grad();
    }
    ++context.step_number;
  };
  for (std::int64_t i = 0; i < warmup; ++i) step(fixed);
  std::vector<double> alone, beside;
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    for (auto* seconds : {&alone, &beside}) {
      for (std::int64_t i = 0; i < steps; ++i) {
        const auto begin = Clock::now();
        step(seconds == &beside ? taken() : fixed);  // waiting for the batch counts
        seconds->push_back(std::chrono::duration<double>(Clock::now() - begin).count());
      }
    }
  }
  const nlohmann::json line = {{"alone", alone},
                               {"beside", beside},
                               {"waited", loader->seconds_waited()},
                               {"shape", fixed.images[0].sizes().vec()}};
  std::printf("RESULT %s\n", line.dump().c_str());
}

}  // namespace
}  // namespace strata

int main(int argc, char** argv) {
  strata::keep_freed_memory();  // as every tool does
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t turns = 4, steps = 5, warmup = 3;
  CLI::App app("Training steps without and with the loader beside them.", "bench_beside");
  app.add_option("config", config)->required();
  app.add_option("--set", overrides)->expected(1)->take_all()->allow_extra_args(false);
  app.add_option("--turns", turns);
  app.add_option("--steps", steps);
  app.add_option("--warmup", warmup);
  CLI11_PARSE(app, argc, argv);
  try {
    strata::run(config, overrides, turns, steps, warmup);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
