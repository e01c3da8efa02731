// The whole config of a run: what `validate` checks and `train` executes.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/config.hpp"
#include "framework/data/options.hpp"
#include "framework/engine/hook.hpp"
#include "framework/engine/initialise.hpp"
#include "framework/engine/options.hpp"
#include "framework/optim/optimizer.hpp"
#include "framework/optim/schedule.hpp"
#include "segmentors/segmentor.hpp"

namespace strata {

/// `[optimizer]`, or several as `[optimizer.NAME]` with `params`.
struct OptimizerSets {
  config::Named<Slot<Optimizer>> sets;  // the name of a single one is ""
};

struct Experiment {
  std::vector<config::Path> plugins;
  Slot<Segmentor> model;
  DataOptions data;
  OptimizerSets optimizer;
  std::optional<Slot<Schedule>> schedule;
  TrainOptions train;
  EvaluateOptions evaluate;
  config::Named<Slot<Hook>> hooks;
  std::vector<FreezeRule> freeze;
  InitSets init;
  RuntimeOptions runtime;

  // Derived by load_experiment.
  std::string name;           // stem of the config file
  LabelSpecs labels;          // data.labels with palettes filled in
  config::Document document;  // what it was bound from

  static auto fields();

  Segmentor::Context model_context() const { return {labels, data.channels}; }
  std::shared_ptr<Segmentor> build_model() const { return model.build(model_context()); }
};

/// Reads, resolves and binds a config, loads its plugins into `registry`, and walks all shapes.
/// Throws ConfigError with everything that is wrong. Nothing is computed and no data is touched.
STRATA_API Experiment load_experiment(const std::string& path,
                                      const std::vector<std::string>& overrides,
                                      Registry& registry);

/// The second half of it, for a document at hand (a checkpoint's config, a test).
STRATA_API Experiment bind_experiment(config::Document document, const std::string& name,
                                      Registry& registry);

}  // namespace strata

namespace strata::config {

template <>
struct Codec<OptimizerSets> {
  static TypeInfo type() {
    TypeInfo info = Codec<Slot<Optimizer>>::type();
    info.or_named = true;
    return info;
  }
  static void parse(const Value& value, OptimizerSets& out, Binder& binder, const Constraints& c) {
    const Table* table = binder.table(value);
    if (table == nullptr) return;
    bool named = !table->empty() && !table->contains("type");
    for (const Entry& entry : table->entries()) {
      named =
          named && entry.value.as_table() != nullptr && entry.value.as_table()->contains("type");
    }
    if (named) {
      Codec<Named<Slot<Optimizer>>>::parse(value, out.sets, binder, c);
    } else {
      Slot<Optimizer> one;
      Codec<Slot<Optimizer>>::parse(value, one, binder, c);
      out.sets.assign(1, {"", std::move(one)});
    }
  }
  static Value dump(const OptimizerSets& value, bool full) {
    if (value.sets.empty()) return Value{};
    if (value.sets.size() == 1 && value.sets.front().first.empty()) {
      return Codec<Slot<Optimizer>>::dump(value.sets.front().second, full);
    }
    return Codec<Named<Slot<Optimizer>>>::dump(value.sets, full);
  }
};

}  // namespace strata::config

namespace strata {

inline auto Experiment::fields() {
  using config::field;
  return std::tuple{
      field("plugins", &Experiment::plugins, "plugin libraries, found from this file's folder")
          .one_or_many(),
      field("model", &Experiment::model, "the model").required(),
      field("data", &Experiment::data, "labels and splits").required(),
      field("optimizer", &Experiment::optimizer, "the optimizer, or several by name"),
      field("schedule", &Experiment::schedule, "how the learning rate goes; left out: constant"),
      field("train", &Experiment::train, "length of the run and what happens during it"),
      field("evaluate", &Experiment::evaluate, "what is measured and which checkpoint is best"),
      field("hooks", &Experiment::hooks, "[hooks.NAME]: what else runs along"),
      field("freeze", &Experiment::freeze, "parts that are not trained: globs, or tables")
          .one_or_many(),
      field("init", &Experiment::init, "weights to begin with, or several by name"),
      field("runtime", &Experiment::runtime, "work dir, device, seed, threads")};
}

}  // namespace strata
