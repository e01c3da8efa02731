#include "framework/engine/session.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/utils.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/config/value.hpp"
#include "framework/data/sampler.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/environment.hpp"
#include "framework/engine/evaluator.hpp"
#include "framework/engine/hooks/tensorboard.hpp"
#include "framework/engine/prefetch.hpp"
#include "framework/engine/report/record.hpp"
#include "framework/inference/serving.hpp"
#include "framework/ops/device.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;

/// The loader as the runner sees it: batches by number.
class LoaderBatches final : public BatchSource {
 public:
  LoaderBatches(std::unique_ptr<Loader> loader, std::int64_t batch_size, c10::Device device,
                bool channels_last)
      : loader_(std::move(loader)),
        batch_size_(batch_size),
        prefetcher_({[this] { return *loader_->next(); }, [this] { return loader_->ready(); }},
                    device, channels_last) {}
  Batch next() override { return prefetcher_.next(); }
  void seek(std::int64_t batch) override {
    prefetcher_.forget();
    loader_->seek(batch * batch_size_);
  }
  double seconds_waited() const override { return loader_->seconds_waited(); }

 private:
  std::unique_ptr<Loader> loader_;
  std::int64_t batch_size_;
  Prefetcher prefetcher_;
};

// A part says which of its keys is wrong; here is known where that key stands.
template <class Body>
auto located(const Experiment& experiment, const std::string& path, const Body& body) {
  try {
    return body();
  } catch (const OptionError& error) {
    std::string key = error.key().empty() ? path : path + "." + error.key();
    const config::Value* at = experiment.document.root.at(key);
    if (at == nullptr && (error.key() == "0" || error.key().starts_with("0."))) {
      key = path + error.key().substr(1);  // a lone element stands for an array of one
      at = experiment.document.root.at(key);
    }
    if (at == nullptr) at = experiment.document.root.at(path);
    throw ConfigError({{at == nullptr ? Origin{} : at->origin, key, error.what()}});
  }
}

void require(const Experiment& experiment, bool there, const std::string& path,
             const std::string& what) {
  if (there) return;
  const Origin file{experiment.document.files.empty() ? "" : experiment.document.files.back(), 0,
                    0};
  throw ConfigError({{file, path, what}});
}

/// No parameter may have two optimizers; one that has none, though it could learn, is told.
void require_one_owner(const Experiment& experiment,
                       const std::vector<optim::ModelParameter>& parameters,
                       const optim::Freezer* freezer,
                       const std::vector<std::pair<std::string, optim::GroupPlan>>& plans) {
  std::map<std::string, std::string> owners;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const std::string& path = experiment.optimizer.sets[i].second.path;
    for (const ParameterGroup& group : plans[i].second.groups) {
      for (const std::string& name : group.names) {
        const auto [owner, is_new] = owners.emplace(name, path);
        if (is_new) continue;
        located(experiment, path, [&, &other = owner->second] {
          throw OptionError("params", "selects " + name + ", which " + other +
                                          " trains already; each parameter has one optimizer");
        });
      }
    }
  }
  if (plans.empty()) return;
  std::vector<std::string> idle;
  for (const optim::ModelParameter& parameter : parameters) {
    if (optim::learns(parameter, freezer) && !owners.contains(parameter.name)) {
      idle.push_back(parameter.name);
    }
  }
  if (idle.empty()) return;
  log::warning("no optimizer trains {} ({} such in all); freeze what is not to be trained",
               idle.front(), idle.size());
}

}  // namespace

Dataset::Context dataset_context(const Experiment& experiment) {
  const auto& label_reader = experiment.data.label_reader;
  return {.labels = experiment.labels,
          .dates = experiment.model.ask(&Segmentor::Statics::dates),
          .reader = make_reader(experiment),
          .label_reader = label_reader ? label_reader.build({.channels = 1}) : nullptr,
          .tags = make_tags(experiment)};
}

std::int64_t samples_in_step(const Experiment& experiment) {
  if (!experiment.data.train) return 0;
  return experiment.data.train->batch_size * experiment.train.accumulate;
}

std::string work_dir_of(const Experiment& experiment) {
  return experiment.runtime.work_dir.empty() ? "work_dirs/" + experiment.name
                                             : experiment.runtime.work_dir;
}

bool wants_channels_last(const Experiment& experiment) {
  return experiment.runtime.memory_format != "contiguous";
}

c10::Device device_of(const Experiment& experiment) {
  return located(experiment, "runtime", [&] {
    try {
      return ops::device_from(experiment.runtime.device);
    } catch (const UserError& error) {
      throw OptionError("device", error.what());
    }
  });
}

void apply_runtime(const Experiment& experiment) {
  device_of(experiment);
  if (experiment.runtime.threads > 0) {
    at::set_num_threads(static_cast<int>(experiment.runtime.threads));
  }
  // MKL's vector functions now and then lose half their digits when the first call of a process is
  // split between threads (cos of LibTorch 2.11: 2 of 100 processes, 1.5e-4 in float32), and two
  // runs differ. After a call too short to be split they do not.
  at::zeros({1}).cos();
  torch::manual_seed(static_cast<std::uint64_t>(experiment.runtime.seed));
}

SplitSource open_split(const Experiment& experiment, const SplitOptions& split,
                       const std::shared_ptr<MemoryBudget>& cache) {
  SplitSource source;
  source.dataset = make_cached(split.dataset.build(dataset_context(experiment)), cache);
  for (const auto& slot : split.transforms) {
    source.transforms.push_back(slot.build({experiment.labels}));
  }
  return source;
}

std::unique_ptr<Loader> make_loader(const SplitSource& source, const Experiment& experiment,
                                    const SplitOptions& split, bool training) {
  const auto seed = static_cast<std::uint64_t>(experiment.runtime.seed);
  // A step takes all its batches at once.
  const std::int64_t batches = training ? experiment.train.accumulate : 1;
  // A tool that computes on the GPU has loaded CUDA by now.
  const bool pinned = experiment.runtime.device != "cpu" && at::globalContext().hasCUDA();
  std::shared_ptr<Sampler> sampler;
  if (!training) {
    sampler = make_sequential_sampler(source.dataset->size());
  } else if (split.sampler) {
    sampler = split.sampler.build({source.dataset, experiment.labels, seed});
  } else {
    sampler = make_shuffled_sampler(source.dataset->size(), seed);
  }
  return std::make_unique<Loader>(source.dataset, source.transforms, std::move(sampler),
                                  LoaderOptions{.batch_size = split.batch_size,
                                                .workers = split.workers,
                                                .prefetch = std::max(split.prefetch, batches),
                                                .seed = seed,
                                                .pinned = pinned});
}

std::unique_ptr<Loader> make_loader(const Experiment& experiment, const SplitOptions& split,
                                    bool training) {
  const auto cache = std::make_shared<MemoryBudget>(experiment.data.cache.bytes);
  return make_loader(open_split(experiment, split, cache), experiment, split, training);
}

std::shared_ptr<const Reader> make_reader(const Experiment& experiment) {
  const std::int64_t channels = experiment.data.channels;
  if (experiment.data.reader) return experiment.data.reader.build({channels});
  return io::image_reader(channels == 3 ? io::Channels::rgb : io::Channels::as_stored);
}

std::shared_ptr<const SceneTags> make_tags(const Experiment& experiment) {
  return experiment.data.tags ? std::make_shared<SceneTags>(*experiment.data.tags) : nullptr;
}

inference::Member member_of(const Experiment& experiment, std::shared_ptr<Model> model) {
  return {std::move(model),
          experiment.evaluate.inference,
          experiment.evaluate.tta,
          {device_of(experiment), wants_channels_last(experiment)}};
}

std::unique_ptr<optim::Freezer> build_freezer(const Experiment& experiment,
                                              torch::nn::Module& model) {
  if (experiment.freeze.empty()) return nullptr;
  return located(experiment, "freeze",
                 [&] { return std::make_unique<optim::Freezer>(experiment.freeze, model); });
}

std::vector<std::pair<std::string, optim::GroupPlan>> plan_trainers(const Experiment& experiment,
                                                                    const torch::nn::Module& model,
                                                                    const optim::Freezer* freezer) {
  std::vector<std::pair<std::string, optim::GroupPlan>> plans;
  const auto parameters = optim::parameters_of(model);
  for (const auto& [name, slot] : experiment.optimizer.sets) {
    plans.emplace_back(name, located(experiment, slot.path, [&, &chosen = slot] {
                         return plan_groups(parameters, chosen.ask(&Optimizer::Statics::common),
                                            freezer, samples_in_step(experiment));
                       }));
  }
  require_one_owner(experiment, parameters, freezer, plans);
  return plans;
}

std::vector<Trainer> build_trainers(const Experiment& experiment, const torch::nn::Module& model,
                                    const optim::Freezer* freezer, std::int64_t steps,
                                    double steps_in_epoch) {
  std::vector<Trainer> trainers;
  const auto plans = plan_trainers(experiment, model, freezer);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const optim::GroupPlan& plan = plans[i].second;
    log::info("{}", plan.table);
    const Slot<Optimizer>& slot = experiment.optimizer.sets[i].second;
    const OptimizerOptions& common = slot.ask(&Optimizer::Statics::common);
    if (common.base_batch_size && samples_in_step(experiment) > 0) {
      log::info("{}.lr: {:g} for {} samples a step is {:g} for {}", slot.path, common.lr,
                *common.base_batch_size, plan.lr, samples_in_step(experiment));
    }
    Trainer trainer;
    trainer.name = plans[i].first;
    trainer.optimizer = slot.build({plans[i].second.groups});
    if (experiment.schedule) {
      trainer.schedule = experiment.schedule->build(
          {.steps = steps, .base_lr = plan.lr, .steps_in_epoch = steps_in_epoch});
    }
    trainers.push_back(std::move(trainer));
  }
  return trainers;
}

std::unique_ptr<Runner> make_runner(const Experiment& experiment, const std::string& resume) {
  require(experiment, experiment.data.train.has_value(), "data.train",
          "is missing: training needs [data.train]");
  require(experiment, !experiment.optimizer.sets.empty(), "optimizer",
          "is missing: training needs [optimizer] with a type");
  const SplitOptions& split = *experiment.data.train;
  RunSettings settings;
  RunParts parts;

  // Files first: a missing one is found before any memory is taken.
  if (resume.empty()) fetch_init(experiment);
  const auto cache = std::make_shared<MemoryBudget>(experiment.data.cache.bytes);
  const SplitSource source = open_split(experiment, split, cache);
  settings.samples_in_epoch = source.dataset->size();
  settings.batch_size = split.batch_size;
  located(experiment, "train", [&] {
    settings.steps = steps_of(experiment.train, source.dataset->size(), split.batch_size);
    settings.validation_interval =
        validation_interval(experiment.evaluate, experiment.train, settings.steps,
                            source.dataset->size(), split.batch_size);
  });
  std::shared_ptr<Evaluator> evaluator;
  if (!experiment.data.val.sets.empty() && measures_anything(experiment.evaluate)) {
    evaluator = std::make_shared<Evaluator>(experiment, experiment.data.val, cache);
  }

  parts.model = experiment.build_model();
  if (resume.empty()) initialise(experiment, *parts.model);
  settings.device = device_of(experiment);
  settings.channels_last = wants_channels_last(experiment);
  inference::place(*parts.model, settings.device, settings.channels_last);

  parts.freezer = build_freezer(experiment, *parts.model);
  parts.trainers = build_trainers(experiment, *parts.model, parts.freezer.get(), settings.steps,
                                  static_cast<double>(source.dataset->size()) /
                                      static_cast<double>(samples_in_step(experiment)));
  parts.batches = std::make_unique<LoaderBatches>(
      make_loader(source, experiment, split, /*training=*/true), split.batch_size,
      settings.device, settings.channels_last);
  if (evaluator) {
    auto predictor = std::make_shared<inference::Predictor>(
        std::vector{member_of(experiment, parts.model)}, experiment.labels);
    auto record = std::make_shared<EvaluationRecord>(experiment.labels);
    const std::string path = (fs::path(work_dir_of(experiment)) / "validation.json").string();
    parts.validate = [evaluator, predictor, record, path](const std::function<bool()>& cancelled,
                                                          const RunParts::Visitor& visit) {
      record->clear();
      Scores scores = evaluator->run(*predictor, cancelled, [&](const Visit& seen) {
        record->add(seen);
        if (visit) visit(seen.set, seen.batch, seen.outputs);
      });
      if (!cancelled()) write_text(path, record->text(*evaluator, "data.val"));
      return scores;
    };
    parts.tables = [evaluator] { return evaluator->tables(); };
  }
  for (const auto& [name, slot] : experiment.hooks) {
    parts.hooks.emplace_back(name, slot.build({name}));
  }
  if (experiment.train.tensorboard) {
    parts.hooks.emplace_back("tensorboard", std::make_shared<TensorboardHook>());
  }
  settings.train = experiment.train;
  settings.best = experiment.evaluate.best;
  settings.best_rule = experiment.evaluate.best_rule;
  settings.seed = static_cast<std::uint64_t>(experiment.runtime.seed);
  settings.work_dir = work_dir_of(experiment);
  settings.config =
      config::to_toml(config::dump_object(config::schema_of<Experiment>(), &experiment),
                      {.escape_references = true});
  for (const config::Path& plugin : experiment.plugins) settings.plugins.push_back(plugin.resolved);
  settings.notes = {
      {"environment.json", environment_json()},
      {"config_origins.toml", config::to_toml(experiment.document.root, {.origins = true})}};
  settings.resume = resume;
  return std::make_unique<Runner>(std::move(parts), std::move(settings));
}

}  // namespace strata::engine
