#include "framework/engine/run_log.hpp"

#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "framework/base/log.hpp"
#include "framework/metrics/metric.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Peak of what tensors took of a GPU's memory.
std::int64_t peak_device_memory_mib(c10::Device device) {
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
             .peak >>
         20;
}

/// What hooks are told of a line.
Hook::Numbers numbers_of(const Json& line) {
  Hook::Numbers numbers;
  for (const auto& [name, value] : line.items()) {
    if (name != "step" && value.is_number()) numbers.emplace_back(name, value.get<double>());
  }
  return numbers;
}

}  // namespace

std::string number_text(double value) {
  const double size = std::abs(value);
  return size != 0 && (size < 1e-3 || size >= 1e5) ? fmt::format("{:.3e}", value)
                                                   : fmt::format("{:.4f}", value);
}

void RunLog::open(std::int64_t step, std::int64_t kept, const std::string& history) {
  const fs::path own = settings_.work_dir;
  const auto open_one = [&](std::optional<JsonLines>& file, const char* name) {
    file.emplace((own / name).string(), kept,
                 history.empty() ? "" : (fs::path(history) / name).string());
  };
  log::set_file((own / "train.log").string());
  open_one(scalars_, "scalars.jsonl");
  open_one(timing_, "timing.jsonl");
  logged_ = step;
}

void RunLog::begin_training(std::int64_t step) {
  if (training_) return;
  training_ = true;
  Json timing;
  timing["step"] = step;
  timing["first_step_begins"] = seconds_since_start();
  timing["resident_mib"] = resident_memory_mib();
  timing_->add(timing.dump());
}

void RunLog::show(const RunState& state) {
  if (!log::is_terminal()) return;
  const auto now = Pace::Clock::now();
  if (now - shown_ < std::chrono::milliseconds(100) && state.step != state.steps) return;
  shown_ = now;
  const double share = static_cast<double>(state.step) / static_cast<double>(state.steps);
  log::status(fmt::format("{} {}/{}  {:.2f} s/step  eta {}{}", bar_text(share, 30), state.step,
                          state.steps, pace_.smooth(),
                          duration_text(pace_.remaining(state.steps - state.step)), running_loss_));
}

RunLog::Numbers RunLog::add_step(const RunState& state, const Numbers& rates, const Numbers& means,
                                 double waited) {
  const double seconds = pace_.take();
  const double data_seconds = (waited - waited_) / static_cast<double>(state.step - logged_);
  waited_ = waited;
  logged_ = state.step;
  Json line, timing;
  line["step"] = state.step;
  if (settings_.samples_in_epoch > 0) line["epoch"] = state.epoch;
  std::string text = fmt::format("step {}/{}  eta {}", state.step, state.steps,
                                 duration_text(pace_.remaining(state.steps - state.step)));
  for (const auto& [name, rate] : rates) {
    line[name] = rate;
    text += fmt::format("  {} {:.3e}", name, rate);
  }
  for (const auto& [name, mean] : means) {
    line[name] = mean;
    text += fmt::format("  {} {}", name, number_text(mean));
    if (name == "loss") running_loss_ = "  loss " + number_text(mean);
  }
  timing["step"] = state.step;
  timing["time"] = seconds;
  timing["data_time"] = data_seconds;
  const std::int64_t samples = settings_.batch_size * settings_.train.accumulate;
  timing["samples_per_second"] = seconds > 0 ? static_cast<double>(samples) / seconds : 0.0;
  std::int64_t memory = peak_memory_mib();
  timing["memory_mib"] = memory;
  if (!settings_.device.is_cpu()) {
    memory = peak_device_memory_mib(settings_.device);
    timing["device_memory_mib"] = memory;
  }
  scalars_->add(line.dump());
  timing_->add(timing.dump());
  log::info("{}  time {:.3f}  data {:.3f}  memory {} MiB", text, seconds, data_seconds, memory);
  return numbers_of(line);
}

RunLog::Numbers RunLog::add_validation(const RunState& state, double seconds,
                                       const std::string& tables) {
  Json line;
  line["step"] = state.step;
  std::string text = fmt::format("validation of step {}:", state.step);
  const std::vector<bool> on_the_line = summaries(state.scores);
  for (std::size_t i = 0; i < state.scores.size(); ++i) {
    const auto& [name, value] = state.scores[i];
    line["val." + name] = value;
    if (on_the_line[i] || name == settings_.best) {
      text += fmt::format("  {} {}", name, number_text(value));
    }
  }
  scalars_->add(line.dump());
  timing_->add(Json{{"step", state.step}, {"validation_time", seconds}}.dump());
  log::info("{}", text);
  if (!tables.empty()) {
    log::write_to_file(fmt::format("validation of step {}\n{}", state.step, tables));
  }
  return numbers_of(line);
}

}  // namespace strata::engine
