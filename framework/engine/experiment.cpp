#include "framework/engine/experiment.hpp"

#include <filesystem>

#include "framework/base/log.hpp"
#include "framework/engine/evaluator.hpp"
#include "registry/plugin_loader.hpp"

namespace strata {
namespace {

/// Plugins come first: their components must be known when the rest is bound.
void load_plugins(const config::Document& document, Registry& registry,
                  std::vector<Problem>& problems) {
  const config::Value* list = document.root.at("plugins");
  if (list == nullptr) return;
  std::vector<config::Path> paths;
  config::Constraints constraints;
  constraints.one_or_many = true;
  config::Binder binder(registry);
  binder.inside("plugins", [&] {
    config::Codec<std::vector<config::Path>>::parse(*list, paths, binder, constraints);
  });
  // A badly typed list is reported once, by the binding of the whole.
  if (!binder.problems.empty()) return;
  const config::Array* array = list->as_array();
  for (std::size_t i = 0; i < paths.size(); ++i) {
    try {
      load_plugin(paths[i], registry);
    } catch (const PluginError& error) {
      problems.push_back({array != nullptr ? (*array)[i].origin : list->origin,
                          "plugins." + std::to_string(i), error.what()});
    }
  }
}

void check_dates(const Slot<Dataset>& dataset, const std::vector<Slot<Transform>>& transforms,
                 std::int64_t dates, std::vector<Problem>& problems) {
  if (!dataset) return;
  std::int64_t given = 0;
  try {
    given = dataset.ask(&Dataset::Statics::dates);
    for (const auto& transform : transforms) {
      given = transform.ask(&Transform::Statics::dates, given);
    }
  } catch (const ConfigError& error) {  // of data sets that are joined
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    return;
  }
  if (given == dates) return;
  problems.push_back(dataset.problem(
      "type", "gives " + std::to_string(given) + (given == 1 ? " image" : " images") +
                  " a sample, the model takes " + std::to_string(dates)));
}

/// Options that say themselves whether their values go together.
template <class Body>
void check_options(const Experiment& experiment, const std::string& path,
                   std::vector<Problem>& problems, const Body& body) {
  try {
    body();
  } catch (const OptionError& error) {
    const std::string key = path + "." + error.key();
    const config::Value* at = experiment.document.root.at(key);
    if (at == nullptr) at = experiment.document.root.at(path);
    problems.push_back({at == nullptr ? Origin{} : at->origin, key, error.what()});
  }
}

/// Transforms are made of their options and the labels alone: what does not fit is known now.
void check_transforms(const SplitOptions& split, const LabelSpecs& labels,
                      std::vector<Problem>& problems) {
  for (const auto& slot : split.transforms) {
    try {
      slot.build({labels});
    } catch (const ConfigError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  }
}

/// What binding alone cannot see: labels, shapes through the model, images a sample.
void check(Experiment& experiment, std::vector<Problem>& problems) {
  try {
    experiment.labels = LabelSpecs(experiment.data.labels);
  } catch (const OptionError& error) {
    const std::string path = "data.labels." + error.key();
    const config::Value* at = experiment.document.root.at(path);
    problems.push_back({at == nullptr ? Origin{} : at->origin, path, error.what()});
    return;
  }
  if (experiment.data.train) {
    check_transforms(*experiment.data.train, experiment.labels, problems);
  }
  for (const auto* splits : {&experiment.data.val, &experiment.data.test}) {
    for (const auto& [name, split] : splits->sets) {
      check_transforms(split, experiment.labels, problems);
      if (!split.sampler) continue;
      problems.push_back(split.sampler.problem(
          "", "only training has one: here every sample comes once; take it out"));
    }
  }
  if (!experiment.model) return;
  try {
    experiment.model.ask(&Segmentor::Statics::check, experiment.model_context());
  } catch (const ConfigError& error) {
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
  }
  engine::check_evaluation(experiment, problems);
  const std::int64_t dates = experiment.model.ask(&Segmentor::Statics::dates);
  check_options(experiment, "evaluate.inference", problems,
                [&] { experiment.evaluate.inference.check(); });
  check_options(experiment, "evaluate.tta", problems,
                [&] { experiment.evaluate.tta.check(dates); });
  if (experiment.data.train)
    check_dates(experiment.data.train->dataset, experiment.data.train->transforms, dates, problems);
  for (const auto* splits : {&experiment.data.val, &experiment.data.test}) {
    for (const auto& [name, split] : splits->sets) {
      check_dates(split.dataset, split.transforms, dates, problems);
    }
  }
}

}  // namespace

Experiment bind_experiment(config::Document document, const std::string& name, Registry& registry) {
  std::vector<Problem> problems = document.problems;
  load_plugins(document, registry, problems);

  Experiment experiment;
  config::Binder binder(registry);
  binder.bind(config::schema_of<Experiment>(), &experiment, document.root);
  problems.insert(problems.end(), binder.problems.begin(), binder.problems.end());
  document.warnings.insert(document.warnings.end(), binder.warnings.begin(), binder.warnings.end());
  experiment.name = name;
  experiment.document = std::move(document);
  // Shapes of a model whose keys are wrong would only repeat the mistake in other words.
  if (problems.empty()) check(experiment, problems);
  config::throw_if_any(std::move(problems));
  for (const Problem& warning : experiment.document.warnings) log::warning("{}", warning.str());
  return experiment;
}

Experiment load_experiment(const std::string& path, const std::vector<std::string>& overrides,
                           Registry& registry) {
  return bind_experiment(config::load(path, overrides), std::filesystem::path(path).stem().string(),
                         registry);
}

}  // namespace strata
