// list: the components that configs can name, by kind.
#include <algorithm>
#include <cstdio>

#include "framework/base/files.hpp"
#include "framework/config/describe.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

// "backbones" is as good as "backbone".
std::string kind_named(const Registry& registry, const std::string& name) {
  const std::vector<std::string> kinds = registry.kinds();
  for (const std::string& kind : kinds) {
    const std::string stem = kind.substr(0, kind.find_last_not_of("sx") + 1);
    if (name == kind || name == kind + "s" || name == kind + "es" || name == stem + "ses") {
      return kind;
    }
  }
  std::string known;
  for (const std::string& kind : kinds) known += (known.empty() ? "" : ", ") + kind;
  throw UserError("list: no kind of component is named \"" + name + "\"" +
                  did_you_mean(name, kinds) + "; there are " + known);
}

void print_kind(const Registry& registry, const std::string& kind) {
  const std::vector<std::string> names = registry.names(kind);
  std::size_t width = 0;
  for (const std::string& name : names) width = std::max(width, name.size());
  std::printf("%s\n", kind.c_str());
  for (const std::string& name : names) {
    const ComponentEntry& entry = *registry.find(kind, name);
    const std::string origin = entry.origin == "built-in" ? "" : "  (" + entry.origin + ")";
    std::printf("  %-*s  %s%s\n", static_cast<int>(width), name.c_str(), entry.doc.c_str(),
                origin.c_str());
  }
}

void write_pages(const Registry& registry, const std::string& folder) {
  make_folder(folder);
  std::string index =
      "# Reference\n\nWritten by `list --markdown`; not to be edited.\n\n"
      "- [Keys of a config](config.md)\n";
  write_text(folder + "/config.md", config::markdown_of_config(config::schema_of<Experiment>()));
  for (const std::string& kind : registry.kinds()) {
    std::string file = kind;
    std::replace(file.begin(), file.end(), ' ', '_');
    write_text(folder + "/" + file + ".md", config::markdown_of_kind(registry, kind));
    index += "- [" + kind + "](" + file + ".md):";
    for (const std::string& name : registry.names(kind)) index += " " + name;
    index += "\n";
  }
  write_text(folder + "/README.md", index);
}

}  // namespace

int run_list(int argc, char** argv) {
  CLI::App app("Names the components that configs can use.", "list");
  std::string kind, markdown;
  std::vector<std::string> plugins;
  app.add_option("kind", kind, "backbone, head, loss, ...; left out: all")->type_name("KIND");
  app.add_option("--markdown", markdown, "write the reference pages into this folder")
      ->type_name("DIR");
  add_plugins(app, plugins);
  return run_tool(app, argc, argv, [&] {
    const std::unique_ptr<Registry> owner = components(plugins);
    const Registry& registry = *owner;
    if (!markdown.empty()) {
      write_pages(registry, markdown);
    } else if (!kind.empty()) {
      print_kind(registry, kind_named(registry, kind));
    } else {
      for (const std::string& each : registry.kinds()) print_kind(registry, each);
    }
    return kOk;
  });
}

}  // namespace strata::tools
