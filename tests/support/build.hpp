// Building components of the built-in registry from a line of TOML.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/model/spec.hpp"
#include "registry/builtin.hpp"
#include "registry/registry.hpp"
#include "tests/support/message.hpp"

namespace strata::tests {

inline const Registry& builtin_registry() {
  static const Registry* registry = [] {
    auto* made = new Registry;
    register_builtin_components(*made);
    return made;
  }();
  return *registry;
}

/// Binds `toml` ("type = \"SGD\"\nlr = 0.1") to a slot. Throws ConfigError.
template <class Interface>
Slot<Interface> slot_of(const std::string& toml) {
  const config::Document document = config::load_text(toml, "test.toml");
  config::Binder binder(builtin_registry());
  Slot<Interface> slot;
  binder.bind_slot(Interface::kind, slot, document.root);
  config::throw_if_any(binder.problems);
  return slot;
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

/// Levels "0", "1", … of these channels at strides 4, 8, 16, …
inline FeatureSpec levels_of(const std::vector<std::int64_t>& channels, std::int64_t dates = 1) {
  FeatureSpec spec;
  spec.dates = dates;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    spec.levels.push_back({std::to_string(i), channels[i], std::int64_t{4} << i});
  }
  return spec;
}

/// Classes "c0", "c1", …
inline LabelSpec label_of(const std::string& name, std::int64_t classes,
                          const std::string& role = "semantic", std::int64_t date = 0) {
  LabelSpec label;
  for (std::int64_t i = 0; i < classes; ++i) label.classes.push_back("c" + std::to_string(i));
  label.role = role;
  label.date = date;
  label.name = name;
  return label;
}

}  // namespace strata::tests
