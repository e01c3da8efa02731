// The multi-call program: `train CONFIG` through its link and `strata train CONFIG` are the same.
#include <cstdio>
#include <string_view>

#include "framework/base/memory.hpp"
#include "framework/base/version.hpp"
#include "tools/tool.hpp"

namespace {

void print_tools() {
  const auto version = strata::version();
  std::printf("strata %.*s\nusage: strata TOOL [ARGUMENTS]; strata TOOL --help\n\n",
              static_cast<int>(version.size()), version.data());
  for (const auto& tool : strata::tools::tool_list()) {
    std::printf("  %-12.*s %.*s\n", static_cast<int>(tool.name.size()), tool.name.data(),
                static_cast<int>(tool.summary.size()), tool.summary.data());
  }
}

const strata::tools::Tool* find_tool(std::string_view name) {
  for (const auto& tool : strata::tools::tool_list()) {
    if (tool.name == name) return &tool;
  }
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  strata::keep_freed_memory();
  std::string_view name = argc > 0 ? argv[0] : "strata";
  name.remove_prefix(name.rfind('/') + 1);
  if (const auto* tool = find_tool(name)) return tool->run(argc, argv);
  if (argc < 2) {
    print_tools();
    return 2;
  }
  name = argv[1];
  if (name == "--help" || name == "-h") {
    print_tools();
    return 0;
  }
  if (const auto* tool = find_tool(name)) return tool->run(argc - 1, argv + 1);
  std::fprintf(stderr, "strata: no tool named \"%s\"; see strata --help\n", argv[1]);
  return 2;
}
