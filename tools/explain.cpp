// explain: where the value of a key comes from, file by file.
#include <cstdio>

#include "framework/config/config.hpp"
#include "tools/common.hpp"

namespace strata::tools {

int run_explain(int argc, char** argv) {
  CLI::App app(
      "Says where the value of a key comes from: each file and option that sets or removes "
      "it, in order.",
      "explain");
  ConfigArguments arguments;
  std::string key;
  add_config(app, arguments);
  app.add_option("key", key, "dotted key, of a value or of a whole table; left out: all of them")
      ->type_name("KEY");
  return run_tool(app, argc, argv, [&] {
    const config::Document document = config::load(arguments.config, arguments.overrides);
    std::fputs(config::explain(document, key).c_str(), stdout);
    config::throw_if_any(document.problems);
    return kOk;
  });
}

}  // namespace strata::tools
