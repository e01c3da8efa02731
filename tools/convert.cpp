// convert: configs of other programs into ours.
#include "tools/common.hpp"
#include "tools/convert_config.hpp"

namespace strata::tools {
int run_convert(int argc, char** argv) {
  CLI::App app("Converts a dumped MMSegmentation or Open-CD config to TOML.", "convert");
  bool config = false;
  std::string in, out;
  app.add_flag("--config", config, "IN is a config: JSON of mmengine's Config.to_dict()")
      ->required();
  app.add_option("in", in, "what to convert")->required()->type_name("IN");
  app.add_option("out", out, "file to write")->required()->type_name("OUT");
  return run_tool(app, argc, argv, [&] {
    convert_config_file(in, out);
    return kOk;
  });
}

}  // namespace strata::tools
