// What a few steps spend their time on, as a trace that chrome://tracing and Perfetto open.
#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "framework/base/log.hpp"
#include "framework/engine/hook.hpp"
#include "registry/component.hpp"

namespace strata::engine {

struct ProfilerOptions {
  std::int64_t begin = 10;
  std::int64_t steps = 3;
  bool shapes = false;

  static auto fields() {
    using config::field;
    return std::tuple{
        field("begin", &ProfilerOptions::begin, "steps before the first one that is recorded")
            .at_least(0),
        field("steps", &ProfilerOptions::steps, "steps that are recorded").at_least(1),
        field("shapes", &ProfilerOptions::shapes, "record the shapes of operators' inputs too")};
  }
};

/// Writes work_dir/trace.json and logs the operators that took longest, their callees included.
class ProfilerHook final : public Hook {
 public:
  ProfilerHook(const ProfilerOptions& options, const Context& context)
      : options_(options), key_(context.name) {}
  ~ProfilerHook() override {
    if (!recording_) return;
    try {  // a run is being given up: there is nobody to tell
      torch::autograd::profiler::disableProfiler();
    } catch (...) {
    }
  }

  int priority() const override { return 100; }  // what other hooks do before a step is not its
  void before_step(RunState& state) override {
    if (recording_ || state.step != options_.begin) return;
    namespace profiler = torch::profiler::impl;
    std::set<profiler::ActivityType> activities{profiler::ActivityType::CPU};
    if (!state.model->parameters().empty() && state.model->parameters().front().is_cuda()) {
      activities.insert(profiler::ActivityType::CUDA);
    }
    const profiler::ProfilerConfig config(profiler::ProfilerState::KINETO, options_.shapes);
    torch::autograd::profiler::prepareProfiler(config, activities);
    torch::autograd::profiler::enableProfiler(config, activities);
    recording_ = true;
  }
  void after_step(RunState& state) override {
    if (recording_ && state.step >= options_.begin + options_.steps) finish(state);
  }
  void after_run(RunState& state) override {
    if (recording_) finish(state);
  }

 private:
  void finish(RunState& state) {
    recording_ = false;
    const auto result = torch::autograd::profiler::disableProfiler();
    const std::string path = std::filesystem::path(state.work_dir) / "trace.json";
    result->save(path);
    struct Sum {
      double milliseconds = 0.0;
      std::int64_t calls = 0;
    };
    std::map<std::string, Sum> sums;
    for (const auto& event : result->events()) {
      Sum& sum = sums[event.name()];
      sum.milliseconds += static_cast<double>(event.durationNs()) / 1e6;
      ++sum.calls;
    }
    std::vector<std::pair<std::string, Sum>> order(sums.begin(), sums.end());
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return a.second.milliseconds > b.second.milliseconds;
    });
    constexpr std::size_t kMost = 10;
    if (order.size() > kMost) order.resize(kMost);
    std::string text;
    for (const auto& [name, sum] : order) {
      text += fmt::format("\n  {:>10.1f} ms  {:>6} calls  {}", sum.milliseconds, sum.calls, name);
    }
    log::info("hooks.{}: {} has steps {} to {}{}", key_, path, options_.begin + 1, state.step,
              text);
  }

  ProfilerOptions options_;
  std::string key_;
  bool recording_ = false;
};

}  // namespace strata::engine

STRATA_COMPONENTS(framework_engine_hooks_profiler) {
  using namespace strata::engine;
  registry.add<strata::Hook, ProfilerHook, ProfilerOptions>(
      "ProfilerHook", "records what a few steps spend their time on");
}
