// The one logger (spdlog behind it). Libraries never print; results of tools go to stdout, this
// goes to stderr and, in a run, to the run's log file.
#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>
#include <utility>

#include "framework/base/export.hpp"

namespace strata::log {

enum class Level { debug, info, warning, error };

STRATA_API void write(Level level, std::string_view message);
/// To the run's log file alone: what is too long for a terminal.
STRATA_API void write_to_file(std::string_view message);
STRATA_API void set_level(Level level);
/// Also write to `path` (appended) until the returned guard's stop; "" closes the file.
STRATA_API void set_file(const std::string& path);
/// A line that stays below the messages on a terminal (a progress bar); "" takes it away. Nothing
/// happens when stderr is not a terminal.
STRATA_API void status(std::string_view line);
/// Whether stderr is a terminal.
STRATA_API bool is_terminal();

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace strata::log
