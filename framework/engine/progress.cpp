#include "framework/engine/progress.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>

namespace strata::engine {

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(seconds, 0.0)));
  const std::int64_t days = whole / 86400;
  const std::string clock =
      fmt::format("{}:{:02d}:{:02d}", whole / 3600 % 24, whole / 60 % 60, whole % 60);
  if (days == 0) return clock;
  return fmt::format("{} day{} {}", days, days == 1 ? "" : "s", clock);
}

std::string bar_text(double share, int width) {
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
  std::string inside(static_cast<std::size_t>(full), '=');
  if (full < width) inside += '>';
  inside.resize(static_cast<std::size_t>(width), ' ');
  return "[" + inside + "]";
}

std::int64_t peak_memory_mib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

double resident_memory_mib() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0, resident = 0;  // pages
  file >> size >> resident;
  return static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)) / (1024.0 * 1024.0);
}

double seconds_since_start() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  // After the name in brackets, which may hold anything, the start is field 20: ticks since boot.
  std::istringstream fields(text.substr(text.rfind(')') + 1));
  std::string word;
  for (int i = 0; i < 20; ++i) fields >> word;
  const double start =
      std::strtod(word.c_str(), nullptr) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - start;
}

void Pace::end() {
  const double seconds = std::chrono::duration<double>(Clock::now() - begun_).count();
  sum_ += seconds;
  ++count_;
  ++total_;
  // A plain mean over the first steps, then a window of about fifty. The very first one, in which
  // memory is taken and kernels are chosen, is left behind.
  const double weight = 1.0 / static_cast<double>(std::clamp<std::int64_t>(total_ - 1, 1, 50));
  smooth_ += weight * (seconds - smooth_);
}

double Pace::take() {
  const double mean = count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_);
  sum_ = 0.0;
  count_ = 0;
  return mean;
}

}  // namespace strata::engine
