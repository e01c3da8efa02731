// describe: the keys of a component, or of a part of the config.
#include <cstdio>

#include "framework/config/describe.hpp"
#include "tools/loading.hpp"

namespace strata::tools {

int run_describe(int argc, char** argv) {
  CLI::App app(
      "Prints the keys of a component (FCNHead), or of a table of the config (train, "
      "data.train), with types, defaults and meaning.",
      "describe");
  std::string name;
  std::vector<std::string> plugins;
  app.add_option("name", name, "registered name or dotted config key; left out: the whole config")
      ->type_name("NAME");
  add_plugins(app, plugins);
  return run_tool(app, argc, argv, [&] {
    const std::unique_ptr<Registry> owner = components(plugins);
    const Registry& registry = *owner;

    std::string text;
    std::vector<std::string> known;
    for (const std::string& kind : registry.kinds()) {
      for (const std::string& each : registry.names(kind)) known.push_back(each);
      if (const ComponentEntry* entry = registry.find(kind, name)) {
        text += (text.empty() ? "" : "\n") + config::describe(*entry);
      }
    }
    const config::Schema& root = config::schema_of<Experiment>();
    const config::Schema* part = text.empty() ? config::find_schema(root, name) : nullptr;
    if (part != nullptr) text = (name.empty() ? "config" : name) + "\n\n" + config::describe(*part);
    if (text.empty()) {
      for (const config::Field& field : root.fields) known.push_back(field.key);
      throw UserError("describe: no component and no table of the config is named \"" + name +
                      "\"" + did_you_mean(name, known) + "; `list` names the components");
    }
    std::fputs(text.c_str(), stdout);
    return kOk;
  });
}

}  // namespace strata::tools
