// Building components of the built-in registry from a line of TOML.
#pragma once

#include <algorithm>
#include <functional>
#include <string>

#include "framework/config/config.hpp"
#include "registry/builtin.hpp"
#include "registry/registry.hpp"

namespace strata::tests {

inline const Registry& builtin_registry() {
  static const Registry* registry = [] {
    auto* made = new Registry;
    register_builtin_components(*made);
    return made;
  }();
  return *registry;
}

/// Binds the table at `path` of a TOML text to a slot. Throws ConfigError.
template <class Interface>
Slot<Interface> bind_slot(const std::string& toml, const std::string& path,
                          const Registry& registry = builtin_registry()) {
  const config::Document document = config::load_text(toml, "test.toml");
  config::throw_if_any(document.problems);
  const config::Value* value = document.root.at(path);
  config::Binder binder(registry);
  Slot<Interface> slot;
  const std::function<void(std::size_t)> bind_inside = [&](std::size_t start) {
    if (start > path.size()) return binder.bind_slot(Interface::kind, slot, *value);
    const std::size_t dot = std::min(path.find('.', start), path.size());
    binder.inside(path.substr(start, dot - start), [&] { bind_inside(dot + 1); });
  };
  bind_inside(0);
  config::throw_if_any(binder.problems);
  return slot;
}

}  // namespace strata::tests
