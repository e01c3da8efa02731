#include "framework/engine/work_dir.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/base/stream.hpp"
#include "framework/engine/checkpoint.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;

// What runs and tools write. Anything else in the folder is the user's and stays.
constexpr std::array kNames{
    "best",         "config.toml",   "config_origins.toml", "environment.json",
    "metrics.json", "pictures",      "predictions",         "report.html",
    "scalars.csv",  "scalars.jsonl", "tensorboard",         "test.json",
    "timing.jsonl", "trace.json",    "train.log",           "validation.json"};

bool of_a_run(const std::string& name) {
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         name.starts_with("step_") || name.starts_with(".step_") ||
         name.starts_with("events.out.tfevents.");
}

void move_away(const std::string& work_dir, const std::vector<fs::path>& things) {
  if (things.empty()) return;
  int number = 1;
  while (fs::exists(fs::path(work_dir) / ("previous_" + std::to_string(number)))) ++number;
  const fs::path target = fs::path(work_dir) / ("previous_" + std::to_string(number));
  make_folder(target);
  for (const fs::path& thing : things) {
    std::error_code error;
    fs::rename(thing, target / thing.filename(), error);
    if (error) {
      throw UserError(thing.string() + ": cannot be moved to " + target.string() + ": " +
                      error.message());
    }
  }
  log::info("{}: moved what an earlier run left to {}", work_dir, target.filename().string());
}

std::int64_t step_of_line(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return -1;  // cut off by a crash
  const auto step = json.find("step");
  return step != json.end() && step->is_number_integer() ? step->get<std::int64_t>() : -1;
}

}  // namespace

void prepare_work_dir(const std::string& work_dir) {
  make_folder(work_dir);
  if (::access(work_dir.c_str(), W_OK | X_OK) != 0) {
    throw UserError(work_dir + ": cannot be written: " + std::strerror(errno) +
                    "; choose another folder with runtime.work_dir");
  }
  std::vector<fs::path> things;
  for (const fs::directory_entry& entry : fs::directory_iterator(work_dir)) {
    if (of_a_run(entry.path().filename())) things.push_back(entry.path());
  }
  std::sort(things.begin(), things.end());
  move_away(work_dir, things);
}

void keep_up_to(const std::string& work_dir, std::int64_t step) {
  std::vector<fs::path> later;
  for (const auto& [at, path] : checkpoints_in(work_dir)) {
    if (at > step) later.emplace_back(path);
  }
  move_away(work_dir, later);
  // A best that went away with them is no longer this run's.
  const fs::path best = fs::path(work_dir) / "best";
  if (fs::is_symlink(best) && !fs::exists(best)) fs::remove(best);
}

JsonLines::JsonLines(std::string path, std::int64_t up_to, const std::string& history)
    : path_(std::move(path)) {
  const std::string source = history.empty() ? path_ : history;
  std::string kept;
  if (up_to >= 0 && fs::exists(source)) {
    std::istringstream lines(read_text(source));
    for (std::string line; std::getline(lines, line);) {
      const std::int64_t step = step_of_line(line);
      if (step >= 0 && step <= up_to) kept += line + "\n";
    }
  }
  write_text(path_, kept);
  errno = 0;
  file_.open(path_, std::ios::app);
  check_written(file_, path_);
}

void JsonLines::add(std::string_view line) {
  errno = 0;
  file_ << line << '\n' << std::flush;
  check_written(file_, path_);
}

}  // namespace strata::engine
