#include "framework/base/log.hpp"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include "framework/base/error.hpp"

namespace strata::log {

namespace {

constexpr const char* kTerminalPattern = "%H:%M:%S %^%L%$ %v";
constexpr const char* kFilePattern = "%Y-%m-%d %H:%M:%S.%e %L %v";

struct Logger {
  std::mutex mutex;
  std::shared_ptr<spdlog::sinks::sink> terminal = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  std::shared_ptr<spdlog::sinks::sink> file;
  spdlog::level::level_enum level = spdlog::level::info;
  std::string status;  // the line below the messages
  bool is_terminal = ::isatty(STDERR_FILENO) == 1;

  Logger() { terminal->set_pattern(kTerminalPattern); }
};

// Never destroyed: destructors of other statics may still log.
Logger& logger() {
  static auto* one = new Logger;
  return *one;
}

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

void clear_status_line() {
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

void draw_status_line(const std::string& status) {
  // Cut to the width: a line that wraps could not be taken back.
  std::size_t width = 80;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) width = size.ws_col - 1U;
  std::fprintf(stderr, "\r\033[K%s", status.substr(0, width).c_str());
  std::fflush(stderr);
}

}  // namespace

void write(Level level, std::string_view message) {
  Logger& one = logger();
  const spdlog::level::level_enum at = level_of(level);
  if (at < one.level) return;
  const spdlog::details::log_msg line("strata", at,
                                      spdlog::string_view_t(message.data(), message.size()));
  const std::scoped_lock lock(one.mutex);
  if (!one.status.empty()) clear_status_line();
  one.terminal->log(line);
  one.terminal->flush();
  if (!one.status.empty()) draw_status_line(one.status);
  if (one.file == nullptr) return;
  one.file->log(line);
  one.file->flush();
}

void write_to_file(std::string_view message) {
  Logger& one = logger();
  const spdlog::details::log_msg line("strata", spdlog::level::info,
                                      spdlog::string_view_t(message.data(), message.size()));
  const std::scoped_lock lock(one.mutex);
  if (one.file == nullptr) return;
  one.file->log(line);
  one.file->flush();
}

void set_level(Level level) { logger().level = level_of(level); }

void set_file(const std::string& path) {
  Logger& one = logger();
  std::shared_ptr<spdlog::sinks::sink> file;
  if (!path.empty()) {
    try {
      file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    } catch (const spdlog::spdlog_ex& error) {
      throw UserError(path + ": cannot write the log: " + error.what());
    }
    file->set_pattern(kFilePattern);
  }
  const std::scoped_lock lock(one.mutex);
  one.file = std::move(file);
}

void status(std::string_view line) {
  Logger& one = logger();
  const std::scoped_lock lock(one.mutex);
  if (!one.is_terminal || (one.status.empty() && line.empty())) return;
  one.status = line;
  draw_status_line(one.status);
}

bool is_terminal() { return logger().is_terminal; }

}  // namespace strata::log
