#include "tools/common.hpp"

#include <cstdio>
#include <exception>

#include "framework/base/error.hpp"

namespace strata::tools {

void add_config(CLI::App& app, ConfigArguments& arguments) {
  app.add_option("config", arguments.config, "TOML config")->required()->type_name("CONFIG");
  add_overrides(app, arguments.overrides);
}

void add_overrides(CLI::App& app, std::vector<std::string>& overrides) {
  app.add_option("--set", overrides,
                 "override a key: --set model.backbone.depth=50 (a TOML value; bare words are strings)")
      ->type_name("KEY=VALUE")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
}

void add_plugins(CLI::App& app, std::vector<std::string>& plugins) {
  app.add_option("--plugin", plugins, "also the components of this plugin")
      ->type_name("FILE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
}

void add_device(CLI::App& app, ConfigArguments& arguments) {
  app.add_option("--device", arguments.device, "cpu, cuda or cuda:K; default: runtime.device");
}

std::vector<std::string> all_overrides(const ConfigArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides;
  if (!arguments.device.empty()) overrides.push_back("runtime.device=" + arguments.device);
  return overrides;
}

int run_tool(CLI::App& app, int argc, char** argv, const std::function<int()>& body) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUserError;
  }
  try {
    return body();
  } catch (const UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kUserError;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "internal error, please report it: %s\n", error.what());
    return kOurError;
  }
}

}  // namespace strata::tools
