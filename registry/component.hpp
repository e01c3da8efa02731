// Each component file ends with
//   STRATA_COMPONENTS(heads_fcn_head) {
//     registry.add<Head, FcnHead, FcnHeadOptions>("FCNHead", "fully convolutional head");
//   }
// The id is the file's path with '/' turned to '_'. CMake lists the files and generates the calls
// (built-ins) or the plugin's entry point: moving a component is one CMake line.
#pragma once

#include "registry/registry.hpp"

#define STRATA_COMPONENTS(id)                              \
  namespace strata {                                       \
  void register_##id(::strata::Registry& registry);        \
  }                                                        \
  void strata::register_##id(::strata::Registry& registry)
