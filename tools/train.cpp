// train: from a config to a work dir with weights, logs and scores.
#include <cstdio>

#include "framework/engine/checkpoint.hpp"
#include "framework/engine/report.hpp"
#include "framework/engine/session.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

/// The checkpoint that --resume means: the newest whole one of the run, or the folder named.
std::string resume_from(const Experiment& experiment, const std::string& given) {
  if (!given.empty()) return engine::checkpoint_of(given);
  const std::string work_dir = engine::work_dir_of(experiment);
  engine::remove_remains(work_dir);
  if (auto newest = engine::newest_checkpoint(work_dir)) return *newest;
  throw CheckpointError(work_dir + ": there is no checkpoint to resume from; leave --resume out to "
                                   "start anew");
}

}  // namespace

int run_train(int argc, char** argv) {
  CLI::App app("Trains the model of a config.", "train");
  ConfigArguments arguments;
  std::string resume;
  add_config(app, arguments);
  add_device(app, arguments);
  const auto* resuming =
      app.add_option("--resume", resume,
                     "go on from the run's newest checkpoint, or from --resume=DIR")
          ->expected(0, 1)
          ->type_name("DIR");
  return run_tool(app, argc, argv, [&] {
    const Loaded loaded = load_to_run(arguments);
    const Experiment& experiment = loaded.experiment;
    const auto runner = engine::make_runner(
        experiment, resuming->count() > 0 ? resume_from(experiment, resume) : "");
    const engine::RunEnd end = runner->run();
    engine::write_report(engine::work_dir_of(experiment));
    for (const auto& [name, value] : runner->state().scores) {
      std::printf("%s %.17g\n", name.c_str(), value);
    }
    return end == engine::RunEnd::interrupted ? kInterrupted : kOk;
  });
}

}  // namespace strata::tools
