// convert: weights from one file format, and from one layout of names, to another; with --config,
// configs of other programs into ours.
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>

#include "backbones/key_maps.hpp"
#include "framework/base/error.hpp"
#include "framework/config/globs.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/tensor_file.hpp"
#include "tools/common.hpp"
#include "tools/convert/changemask.hpp"
#include "tools/convert/convert_config.hpp"

namespace strata::tools {
namespace {

struct ConvertArguments {
  std::string in, out, select, prefix, add_prefix, map, to, pretrained;
  std::vector<std::string> renames, drops;
};

std::vector<std::string> names_of(const TensorMap& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

TensorMap under_prefix(const TensorMap& tensors, const std::string& prefix) {
  TensorMap kept;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) kept.emplace_back(name.substr(prefix.size()), tensor);
  }
  if (kept.empty()) {
    throw UserError(
        "--prefix: no tensor begins with it, got \"" + prefix + "\"" +
        config::glob_hint(prefix.substr(0, prefix.find_last_not_of('.') + 1), names_of(tensors)));
  }
  return kept;
}

TensorMap renamed(const TensorMap& tensors, const std::vector<std::string>& texts) {
  std::vector<io::KeyRule> rules;
  for (const std::string& text : texts) rules.push_back(io::parse_rule(text));
  const io::KeyRules ready(rules);
  std::set<std::ptrdiff_t> used;
  TensorMap out;
  for (const auto& [name, tensor] : tensors) {
    std::ptrdiff_t rule = -1;
    out.emplace_back(*ready.rename(name, &rule), tensor);
    used.insert(rule);
  }
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (used.count(static_cast<std::ptrdiff_t>(i)) != 0) continue;
    throw UserError("--rename: matches no tensor, got \"" + texts[i] + "\"" +
                    config::glob_hint(rules[i].from, names_of(tensors)));
  }
  return out;
}

TensorMap without(const TensorMap& tensors, const std::vector<std::string>& patterns) {
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (const auto& [name, tensor] : tensors) any = any || config::glob_match(pattern, name);
    if (!any) {
      throw UserError("--drop: matches no tensor, got \"" + pattern + "\"" +
                      config::glob_hint(pattern, names_of(tensors)));
    }
  }
  TensorMap kept;
  for (const auto& one : tensors) {
    if (!config::glob_match_any(patterns, one.first)) kept.push_back(one);
  }
  return kept;
}

void convert_with(const ConvertArguments& arguments) {
  const io::TensorFile file = io::read_tensors(engine::weights_of(arguments.in), arguments.select);
  TensorMap tensors = file.tensors;
  if (!arguments.prefix.empty()) tensors = under_prefix(tensors, arguments.prefix);
  if (!arguments.map.empty()) tensors = io::rename(tensors, backbones::key_rules(arguments.map));
  if (!arguments.renames.empty()) tensors = renamed(tensors, arguments.renames);
  if (!arguments.drops.empty()) tensors = without(tensors, arguments.drops);
  if (!arguments.to.empty()) {
    tensors = io::rename(tensors, io::inverse(backbones::key_rules(arguments.to)));
  }
  std::map<std::string, std::string> first;
  for (auto& [name, tensor] : tensors) {
    name.insert(0, arguments.add_prefix);
    if (!first.emplace(name, name).second) {
      throw UserError(arguments.in + ": two tensors are named \"" + name + "\" by the rules");
    }
  }
  io::write_tensors(arguments.out, tensors);
  if (!file.picked.empty()) std::fprintf(stderr, "read from \"%s\"", file.picked.c_str());
  for (const std::string& other : file.others) {
    std::fprintf(stderr, "%s\"%s\"",
                 &other == &file.others.front() ? "; --select also knows " : ", ", other.c_str());
  }
  if (!file.picked.empty()) std::fprintf(stderr, "\n");
  std::printf("%s: %zu of %zu tensors\n", arguments.out.c_str(), tensors.size(),
              file.tensors.size());
}

}  // namespace

int run_convert(int argc, char** argv) {
  CLI::App app(
      "Converts weights between .safetensors and .pth, .pt, .bin (read by their content, nothing "
      "in them is executed) and between layouts of names; with --config, a dumped MMSegmentation or "
      "Open-CD config, or the config.json of a ChangeMask, to TOML.",
      "convert");
  ConvertArguments arguments;
  bool of_config = false;
  auto* config =
      app.add_flag("--config", of_config, "IN is a config: JSON of mmengine's Config.to_dict(), or config.json");
  app.add_option("in", arguments.in, "file of weights, folder that holds one, or name of pretrained ones (timm:MODEL, hf:ORG/MODEL)")
      ->required()
      ->type_name("IN");
  app.add_option("out", arguments.out, "file to write: .safetensors, .pth, .pt or .bin; .toml")
      ->required()
      ->type_name("OUT");
  app.add_option("--select", arguments.select,
                 "dict of a torch file that holds the weights; default: state_dict and the like")
      ->type_name("KEY");
  app.add_option("--prefix", arguments.prefix, "only tensors that begin with it, without it")
      ->type_name("TEXT");
  const auto layouts = CLI::IsMember(backbones::key_layouts());
  app.add_option("--map", arguments.map, "from this layout of backbone weights to our names")
      ->check(layouts);
  app.add_option("--rename", arguments.renames,
                 "'a.** => b.**': stars keep what they match; the first rule that fits decides")
      ->type_name("RULE")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--drop", arguments.drops, "leave out tensors that this glob matches")
      ->type_name("GLOB")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  app.add_option("--to", arguments.to, "from our names to this layout")->check(layouts);
  app.add_option("--add-prefix", arguments.add_prefix, "put this before every name")
      ->type_name("TEXT");
  auto* pretrained = app.add_option("--pretrained", arguments.pretrained,
                                    "OUT is a folder as save_pretrained writes it, of the ChangeMask "
                                    "of this config; IN its weights, checkpoint or work dir")
                         ->type_name("CONFIG");
  pretrained->excludes(config);
  for (const char* of_weights : {"--select", "--prefix", "--map", "--rename", "--drop", "--to",
                                 "--add-prefix"}) {
    config->excludes(app.get_option(of_weights));
    pretrained->excludes(app.get_option(of_weights));
  }
  return run_tool(app, argc, argv, [&] {
    if (of_config) {
      convert_config_file(arguments.in, arguments.out);
    } else if (!arguments.pretrained.empty()) {
      save_changemask(arguments.pretrained, arguments.in, arguments.out);
    } else {
      convert_with(arguments);
    }
    return kOk;
  });
}

}  // namespace strata::tools
