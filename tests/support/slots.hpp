// Components from a line of TOML.
#pragma once

#include <string>

#include "framework/config/config.hpp"
#include "registry/builtin.hpp"
#include "registry/registry.hpp"

namespace strata::tests {

inline const Registry& builtin_registry() {
  static const Registry* const registry = [] {
    auto* made = new Registry;
    register_builtin_components(*made);
    return made;
  }();
  return *registry;
}

/// Binds `toml` ("type = \"SGD\"\nlr = 0.1") to a slot; throws ConfigError.
template <class Interface>
Slot<Interface> slot_of(const std::string& toml) {
  const config::Document document = config::load_text(toml, "test.toml");
  config::Binder binder(builtin_registry());
  Slot<Interface> slot;
  binder.bind_slot(Interface::kind, slot, document.root);
  config::throw_if_any(binder.problems);
  return slot;
}

}  // namespace strata::tests
