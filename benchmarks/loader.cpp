// bench_loader CONFIG: samples a second out of the training loader, as the config says. Prints one
// line of JSON; loader.py pairs it with torch's DataLoader.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "framework/base/memory.hpp"
#include "framework/engine/session.hpp"
#include "registry/builtin.hpp"

namespace strata {
namespace {

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void run(const std::string& config, const std::vector<std::string>& overrides, std::int64_t batches,
         std::int64_t warmup) {
  using Clock = std::chrono::steady_clock;
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(config, overrides, registry);
  const SplitOptions& split = *experiment.data.train;
  const auto begin = Clock::now();
  const auto loader = engine::make_loader(experiment, split, /*training=*/true);
  Batch batch = *loader->next();
  const double first = std::chrono::duration<double>(Clock::now() - begin).count();
  for (std::int64_t i = 1; i < warmup; ++i) batch = *loader->next();
  const auto start = Clock::now();
  const double cpu = cpu_seconds();
  for (std::int64_t i = 0; i < batches; ++i) batch = *loader->next();
  const double wall = std::chrono::duration<double>(Clock::now() - start).count();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto samples = static_cast<double>(batches * split.batch_size);
  const nlohmann::json line = {{"samples_per_second", samples / wall},
                               {"cpu_ms_per_sample", 1e3 * (cpu_seconds() - cpu) / samples},
                               {"first_batch_seconds", first},
                               {"image", std::string(batch.images[0].toString())},
                               {"shape", batch.images[0].sizes().vec()},
                               {"peak_mib", static_cast<double>(usage.ru_maxrss) / 1024}};
  std::printf("RESULT %s\n", line.dump().c_str());
}

}  // namespace
}  // namespace strata

int main(int argc, char** argv) {
  strata::keep_freed_memory();  // as every tool does
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t batches = 100, warmup = 4;
  CLI::App app("Samples a second out of the training loader.", "bench_loader");
  app.add_option("config", config)->required();
  app.add_option("--set", overrides)->expected(1)->take_all()->allow_extra_args(false);
  app.add_option("--batches", batches);
  app.add_option("--warmup", warmup);
  CLI11_PARSE(app, argc, argv);
  try {
    strata::run(config, overrides, batches, warmup);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
