#include "tools/loading.hpp"

#include "framework/engine/session.hpp"
#include "registry/builtin.hpp"
#include "registry/plugin_loader.hpp"

namespace strata::tools {

std::unique_ptr<Registry> components(const std::vector<std::string>& plugins) {
  auto registry = std::make_unique<Registry>();
  register_builtin_components(*registry);
  for (const std::string& path : plugins) load_plugin(config::Path{path, path}, *registry);
  return registry;
}

Loaded load(const ConfigArguments& arguments) {
  auto registry = components();
  Experiment experiment = load_experiment(arguments.config, all_overrides(arguments), *registry);
  return {std::move(registry), std::move(experiment)};
}

Loaded load_to_run(const ConfigArguments& arguments) {
  Loaded loaded = load(arguments);
  engine::apply_runtime(loaded.experiment);
  return loaded;
}

}  // namespace strata::tools
