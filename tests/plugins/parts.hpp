// Makes components of the plugins that this build made, from config text.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "framework/config/config.hpp"
#include "registry/builtin.hpp"
#include "registry/plugin_loader.hpp"
#include "registry/registry.hpp"

namespace strata::tests {

/// The file of a plugin of plugins/.
inline std::string plugin_file(const std::string& name) {
  return std::string(STRATA_BINARY_DIR "/plugins/") + name + ".so";
}

/// Built-ins and both example plugins.
inline Registry& parts() {
  static Registry* registry = [] {
    auto* made = new Registry;  // plugins stay loaded, and so does what they registered
    register_builtin_components(*made);
    load_plugin(plugin_file("tiny_backbone"), *made);
    load_plugin(plugin_file("boundary"), *made);
    return made;
  }();
  return *registry;
}

/// `keys` is the inside of a TOML table: `type = "BoundaryLoss", radius = 1`.
template <class Interface>
Slot<Interface> part(const std::string& keys) {
  const config::Document document = config::load_text("part = {" + keys + "}\n", "test.toml");
  config::Binder binder(parts());
  Slot<Interface> slot;
  binder.inside("part",
                [&] { binder.bind_slot(Interface::kind, slot, *document.root.at("part")); });
  config::throw_if_any(binder.problems);
  return slot;
}

/// The message with which `body` fails; "" when it does not.
template <class Body>
std::string message_of(Body body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

}  // namespace strata::tests
