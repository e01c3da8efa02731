// The registry: which components exist, under which name, from where, and how they are made.
//
// A kind is an interface type with
//   static constexpr const char* kind = "head";
//   struct Context;            // what every constructor of this kind is given
//   template <class Component, class Options> static Statics statics();   // optional, see below
// and is identified by its name alone, so that plugins share it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"

namespace strata {

/// Options of a component that has none.
struct NoOptions {
  static auto fields() { return std::tuple{}; }
};

/// One registered component.
struct STRATA_API ComponentEntry final : config::ComponentType {
  /// Makes the component; the pointer is to the kind's interface type.
  std::function<std::shared_ptr<void>(const void* options, const void* context)> make;
  /// The kind's `Statics` (functions that answer before the component is built), or null.
  std::shared_ptr<const void> statics;
  ~ComponentEntry() override;
};

/// Components by kind and name. An object, not a global: tests make their own, tools use
/// `Registry::builtin()` (registry/builtin.hpp) plus plugins.
class STRATA_API Registry final : public config::ComponentCatalog {
 public:
  Registry();
  ~Registry() override;
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  /// Registers `Component`, built as `Component(Options, const Interface::Context&)`.
  /// Throws std::logic_error naming both origins when the name is taken.
  template <class Interface, class Component, class Options>
  void add(const std::string& name, const std::string& doc, std::vector<std::string> aliases = {}) {
    auto entry = std::make_unique<ComponentEntry>();
    entry->kind = Interface::kind;
    entry->name = name;
    entry->doc = doc;
    entry->aliases = std::move(aliases);
    entry->schema = &config::schema_of<Options>();
    entry->make = [](const void* options, const void* context) -> std::shared_ptr<void> {
      std::shared_ptr<Interface> made =
          std::make_shared<Component>(*static_cast<const Options*>(options),
                                      *static_cast<const typename Interface::Context*>(context));
      return made;
    };
    if constexpr (requires { Interface::template statics<Component, Options>(); }) {
      entry->statics = std::make_shared<const typename Interface::Statics>(
          Interface::template statics<Component, Options>());
    }
    insert(std::move(entry));
  }

  /// Adds an entry whose origin is filled in from the current origin (see set_origin).
  void insert(std::unique_ptr<ComponentEntry> entry);
  /// What later insertions are attributed to: "built-in" or a plugin's path.
  void set_origin(std::string origin) { origin_ = std::move(origin); }
  /// Moves every entry of `staged` in, or none: throws PluginError naming both origins on a clash.
  void merge(Registry&& staged);

  const ComponentEntry* find(const std::string& kind, const std::string& name) const override;
  std::string explain_missing(const std::string& kind, const std::string& name) const override;
  std::vector<std::string> kinds() const override;
  std::vector<std::string> names(const std::string& kind) const override;
  /// Plugins whose components are here already, by what identifies a loaded one.
  bool has_plugin(const void* plugin) const { return plugins_.contains(plugin); }
  void remember_plugin(const void* plugin) { plugins_.insert(plugin); }

 private:
  std::map<std::string, std::map<std::string, std::unique_ptr<ComponentEntry>>> entries_;
  std::set<const void*> plugins_;
  std::string origin_ = "built-in";
};

/// A config slot that holds a component of one kind: a field of type Slot<Head> reads
/// `{type = "FCNHead", …}`, checks it against the registry and binds its options.
template <class Interface>
struct Slot : config::AnySlot {
  std::shared_ptr<Interface> build(const typename Interface::Context& context) const {
    const auto* entry = static_cast<const ComponentEntry*>(type);
    try {
      return std::static_pointer_cast<Interface>(entry->make(options.get(), &context));
    } catch (const OptionError& error) {
      throw ConfigError({problem(error.key(), error.what())});
    }
  }
  /// Calls a function of the kind's Statics with this component's options:
  /// `slot.ask(&Backbone::Statics::output, spec)`. OptionErrors come out located.
  template <class Function, class... Args>
  auto ask(Function function, const Args&... args) const {
    const auto* entry = static_cast<const ComponentEntry*>(type);
    const auto& statics = *static_cast<const typename Interface::Statics*>(entry->statics.get());
    try {
      return (statics.*function)(static_cast<const void*>(options.get()), args...);
    } catch (const OptionError& error) {
      throw ConfigError({problem(error.key(), error.what())});
    }
  }
};

}  // namespace strata

namespace strata::config {

template <class Interface>
struct Codec<Slot<Interface>> {
  static TypeInfo type() {
    return {.kind = TypeInfo::Kind::component, .component = Interface::kind};
  }
  static void parse(const Value& value, Slot<Interface>& out, Binder& binder, const Constraints&) {
    binder.bind_slot(Interface::kind, out, value);
  }
  static Value dump(const Slot<Interface>& slot, bool full) {
    return slot ? dump_slot(slot, full) : Value{};
  }
};

}  // namespace strata::config
