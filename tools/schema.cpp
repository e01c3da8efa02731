// schema: JSON Schema of configs, for completion and checks in editors (Taplo, Even Better TOML).
#include <cstdio>

#include "framework/config/describe.hpp"
#include "tools/loading.hpp"

namespace strata::tools {

int run_schema(int argc, char** argv) {
  CLI::App app(
      "Prints the JSON Schema (draft 4) of configs, for editors: put `#:schema FILE` into "
      "the first line of a config.",
      "schema");
  std::vector<std::string> plugins;
  add_plugins(app, plugins);
  return run_tool(app, argc, argv, [&] {
    const auto registry = components(plugins);
    std::fputs(config::json_schema(config::schema_of<Experiment>(), *registry).c_str(), stdout);
    return kOk;
  });
}

}  // namespace strata::tools
