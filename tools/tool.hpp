// What main.cpp knows of a command.
#pragma once

#include <span>
#include <string_view>

namespace strata::tools {

struct Tool {
  std::string_view name;
  std::string_view summary;
  /// argv[0] is the command's own name; returns the exit status.
  int (*run)(int argc, char** argv);
};

/// Every command, in the order of tools/CMakeLists.txt.
std::span<const Tool> tool_list();

}  // namespace strata::tools
