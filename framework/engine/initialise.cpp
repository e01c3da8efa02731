#include "framework/engine/initialise.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

#include "framework/base/log.hpp"
#include "framework/config/globs.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/experiment.hpp"
#include "framework/io/download.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/sharded.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"

namespace strata::engine {
namespace {

std::vector<std::string> state_names(const torch::nn::Module& model) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : io::state_of(model)) names.push_back(name);
  return names;
}

/// Names below `part`, without it.
std::vector<std::string> names_of_part(const std::vector<std::string>& names,
                                       const std::string& part) {
  if (part.empty()) return names;
  std::vector<std::string> own;
  for (const std::string& name : names) {
    if (name.starts_with(part + ".")) own.push_back(name.substr(part.size() + 1));
  }
  return own;
}

std::string path_of(const std::string& set, const std::string& key) {
  return "init." + (set.empty() ? "" : set + ".") + key;
}

io::MatchOptions match_options(const InitOptions& options) {
  io::MatchOptions match;
  if (options.key_map == "auto") {
    for (const std::string& name : backbones::key_layouts()) {
      match.layouts.push_back({name, backbones::key_rules(name)});
    }
  } else if (options.key_map != "native") {
    match.layouts = {{options.key_map, backbones::key_rules(options.key_map)}};
  }
  if (options.prefix) {
    match.prefix = *options.prefix;
    if (!match.prefix->empty() && !match.prefix->ends_with('.')) *match.prefix += '.';
  }
  if (!options.part.empty()) match.likely = {options.part + "."};
  match.keep_outside = options.part.empty() && !options.prefix;
  return match;
}

/// What to write in the config so that weights that were refused fit, where that can be told.
std::string cures(const std::string& set, const InitOptions& options, const io::LoadReport& refused,
                  const TensorMap& tensors, const std::vector<std::string>& names) {
  std::string text;
  std::set<std::string> modules;
  for (const std::string& name : refused.other_classes) {
    modules.insert(name.substr(0, name.rfind('.')));
  }
  if (!modules.empty() && modules.size() <= 8) {
    text += fmt::format("\nfor other classes leave them as they are: {} = [\"{}\"]",
                        path_of(set, "reinit"), fmt::join(modules, "\", \""));
  }
  if (!refused.other_channels.empty()) {
    text += fmt::format("\nfor another number of channels: {} = true", path_of(set, "adapt_input"));
  }
  const std::size_t own = names_of_part(names, options.part).size();
  if (!options.part.empty() && refused.matched.size() * 2 < own) {
    const std::string entry = set.empty() ? "init" : "init." + set;
    text += fmt::format(
        "\nif {} is another network now: {} = the weights of that, or without: {}._delete_ = true",
        options.part, path_of(set, "from"), entry);
  }
  if (!options.part.empty() || refused.matched.size() * 2 >= names.size()) return text;
  // Perhaps they are of a part alone.
  std::set<std::string> parts;
  for (const std::string& name : names) parts.insert(name.substr(0, name.find('.')));
  for (const std::string& part : parts) {
    InitOptions of_part = options;
    of_part.part = part;
    const auto wanted = names_of_part(names, part);
    const io::KeyMatch match = io::match_keys(tensors, wanted, match_options(of_part));
    if (wanted.size() < 10 || match.matched * 2 < wanted.size()) continue;
    text += fmt::format("\n{} of {} names are those of {}: {} = \"{}\"", match.matched,
                        tensors.size(), part, path_of(set, "part"), part);
  }
  return text;
}

void load_set(const std::string& set, const InitOptions& options, torch::nn::Module& model) {
  const std::string path = weights_of(options.from.resolved, options.sha256);
  if (!options.sha256.empty()) {
    if (io::is_index(path)) {
      throw CheckpointError(path + ": " + path_of(set, "sha256") +
                            ": is of one file, this is an index of several; leave it out");
    }
    io::check_sha256(path, options.sha256, path_of(set, "sha256") + " says");
  }
  const io::TensorFile file = io::read_tensors(path, options.select);
  const auto names = state_names(model);
  const io::KeyMatch match =
      io::match_keys(file.tensors, names_of_part(names, options.part), match_options(options));
  std::string how;
  if (!file.picked.empty()) how += fmt::format(", read from \"{}\"", file.picked);
  if (!file.others.empty()) {
    how += fmt::format(" (select also knows \"{}\")", fmt::join(file.others, "\", \""));
  }
  if (!match.layout.empty()) how += fmt::format(", in the layout {}", match.layout);
  if (match.dropped > 0) {
    how += fmt::format(" ({} of its own, such as a classifier, left out)", match.dropped);
  }
  if (!match.prefix.empty()) how += fmt::format(", \"{}\" taken away", match.prefix);
  if (match.outside > 0 && !match.prefix.empty()) {
    how += fmt::format(", {} others not looked at", match.outside);
  }
  try {
    const io::LoadReport report = io::load_state(model, match.tensors, path,
                                                 {.part = options.part,
                                                  .allow = options.allow,
                                                  .reinit = options.reinit,
                                                  .adapt_input = options.adapt_input,
                                                  .pretrained = true});
    log::info("init{}: {}{}: {}", options.part.empty() ? "" : " of " + options.part, path, how,
              report.str());
  } catch (const io::WeightsError& error) {
    throw CheckpointError(error.what() + cures(set, options, error.report(), file.tensors, names));
  }
}

}  // namespace

void check_init(const Experiment& experiment, const torch::nn::Module& model) {
  if (experiment.init.sets.empty()) return;
  const auto names = state_names(model);
  std::vector<Problem> problems;
  const auto report = [&](std::string path, std::string what) {
    const config::Value* at = experiment.document.root.at(path);
    if (at == nullptr) {  // a lone string stands for a list of one
      path = path.substr(0, path.rfind('.'));
      at = experiment.document.root.at(path);
    }
    problems.push_back({at == nullptr ? Origin{} : at->origin, path, std::move(what)});
  };
  const auto check = [&](const std::string& path, const std::string& pattern, const char* what) {
    for (const std::string& name : names) {
      if (config::glob_match(pattern, name)) return;
    }
    report(path, fmt::format("{}, got \"{}\"{}", what, pattern, config::glob_hint(pattern, names)));
  };
  for (const auto& [set, options] : experiment.init.sets) {
    if (!options.sha256.empty() && !io::is_sha256(options.sha256)) {
      report(path_of(set, "sha256"),
             fmt::format("is no SHA-256 of 8 to 64 lower-case hexadecimal digits, got \"{}\"",
                         options.sha256));
    }
    if (!options.part.empty()) check(path_of(set, "part"), options.part, "is no part of the model");
    for (std::size_t i = 0; i < options.reinit.size(); ++i) {
      check(path_of(set, "reinit." + std::to_string(i)), options.reinit[i],
            "matches no parameter and no module");
    }
  }
  config::throw_if_any(std::move(problems));
}

void fetch_init(const Experiment& experiment) {
  for (const auto& [set, options] : experiment.init.sets) {
    if (options.from.is_name()) io::fetch_pretrained(options.from.text, options.sha256);
  }
}

void initialise(const Experiment& experiment, torch::nn::Module& model) {
  check_init(experiment, model);
  for (const auto& [set, options] : experiment.init.sets) load_set(set, options, model);
}

}  // namespace strata::engine
