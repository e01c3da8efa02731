// diff: what two configs disagree on, once resolved.
#include <cstdio>

#include "framework/config/config.hpp"
#include "tools/common.hpp"

namespace strata::tools {

int run_diff(int argc, char** argv) {
  CLI::App app("Prints the keys on which two configs disagree, once both are resolved.", "diff");
  std::string left, right;
  std::vector<std::string> overrides;
  app.add_option("a", left, "TOML config")->required()->type_name("A");
  app.add_option("b", right, "TOML config")->required()->type_name("B");
  app.add_option("--set", overrides, "override a key of B")
      ->type_name("KEY=VALUE")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false);
  return run_tool(app, argc, argv, [&] {
    const config::Document a = config::load(left);
    const config::Document b = config::load(right, overrides);
    std::vector<Problem> problems = a.problems;
    problems.insert(problems.end(), b.problems.begin(), b.problems.end());
    config::throw_if_any(std::move(problems));
    std::fputs(config::diff(a, b).c_str(), stdout);
    return kOk;
  });
}

}  // namespace strata::tools
