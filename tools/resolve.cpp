// resolve: a config as one file, bases merged, overrides applied, references resolved.
#include <cstdio>

#include "tools/loading.hpp"

namespace strata::tools {

int run_resolve(int argc, char** argv) {
  CLI::App app("Prints a config as one file: bases merged, overrides applied, references resolved.",
               "resolve");
  ConfigArguments arguments;
  bool origins = false, full = false;
  add_config(app, arguments);
  app.add_flag("--origins", origins, "say behind each key where it was written");
  app.add_flag("--full", full, "with every default, and paths that hold from anywhere");
  return run_tool(app, argc, argv, [&] {
    const config::TomlStyle style{.origins = origins, .escape_references = true};
    config::Value root;
    if (full) {
      const Loaded loaded = load(arguments);
      root = config::dump_object(config::schema_of<Experiment>(), &loaded.experiment);
    } else {
      config::Document document = config::load(arguments.config, arguments.overrides);
      config::throw_if_any(document.problems);
      root = std::move(document.root);
    }
    std::fputs(config::to_toml(root, style).c_str(), stdout);
    return kOk;
  });
}

}  // namespace strata::tools
