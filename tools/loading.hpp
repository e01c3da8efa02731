// From a command's arguments to the components and the experiment that it works on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "framework/engine/experiment.hpp"
#include "tools/common.hpp"

namespace strata::tools {

/// The built-in components, and those of these plugin files.
std::unique_ptr<Registry> components(const std::vector<std::string>& plugins = {});

/// A bound config. Its slots point into the registry.
struct Loaded {
  std::unique_ptr<Registry> registry;
  Experiment experiment;
};
/// To be looked at: nothing is set up. Throws ConfigError with everything that is wrong.
Loaded load(const ConfigArguments& arguments);
/// To be run: the device is there, threads and seed are set.
Loaded load_to_run(const ConfigArguments& arguments);

}  // namespace strata::tools
