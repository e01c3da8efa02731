// Data sets and transforms made as a config makes them.
#pragma once

#include <memory>
#include <string>

#include "framework/base/error.hpp"
#include "framework/config/config.hpp"
#include "framework/config/toml_reader.hpp"
#include "framework/data/dataset.hpp"
#include "framework/data/transform.hpp"
#include "registry/registry.hpp"
#include "tests/support/build.hpp"

namespace strata::tests {

/// The component of an inline table: `{type = "RandomFlip", prob = 1}`.
template <class Interface>
std::shared_ptr<Interface> make(const std::string& table,
                                const typename Interface::Context& context) {
  const config::Value root = config::parse_toml("x = " + table, "test.toml", "/");
  config::Binder binder(builtin_registry());
  Slot<Interface> slot;
  binder.inside("x", [&] { binder.bind_slot(Interface::kind, slot, *root.at("x")); });
  config::throw_if_any(binder.problems);
  return slot.build(context);
}

inline LabelSpec label_spec(const std::string& name, std::size_t classes,
                            const std::string& role = "semantic") {
  LabelSpec spec;
  spec.name = name;
  spec.role = role;
  for (std::size_t i = 0; i < classes; ++i) spec.classes.push_back("class" + std::to_string(i));
  return spec;
}

inline LabelSpecs label_specs(const std::vector<LabelSpec>& specs) {
  config::Named<LabelSpec> named;
  for (const LabelSpec& spec : specs) named.emplace_back(spec.name, spec);
  return LabelSpecs(named);
}

}  // namespace strata::tests
