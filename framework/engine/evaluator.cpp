#include "framework/engine/evaluator.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "framework/engine/session.hpp"
#include "framework/inference/merge.hpp"
#include "framework/inference/serving.hpp"

namespace strata::engine {
namespace {

// Streams of the run's generator that a loss draws from while it is only measured.
constexpr std::uint64_t kEvaluationStreams = std::uint64_t{3} << 62;

std::vector<std::shared_ptr<Metric>> build_metrics(const Experiment& experiment) {
  std::vector<std::shared_ptr<Metric>> metrics;
  for (const auto& [key, slot] : experiment.evaluate.metrics) {
    metrics.push_back(slot.build({experiment.labels}));
  }
  return metrics;
}

Outputs sample_of(const Outputs& outputs, std::int64_t n) {
  Outputs one = outputs;
  for (auto& [name, output] : one) output.data = output.data.narrow(0, n, 1);
  return one;
}

std::int64_t place_of(const Scores& scores, const std::string& name) {
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (scores[i].first == name) return static_cast<std::int64_t>(i);
  }
  return -1;
}

/// Means over samples of a loss's total and terms, under the names of scores.
class LossMeans {
 public:
  void add(const Losses& losses, std::int64_t samples) {
    samples_ += samples;
    add("loss", losses.total(), samples);
    for (const auto& [name, value] : losses.terms) add("loss." + name, value, samples);
  }
  void append_to(Scores& scores, const std::string& prefix) const {
    for (const auto& [name, sum] : sums_) {
      scores.emplace_back(prefix + name, sum / static_cast<double>(samples_));
    }
  }

 private:
  void add(const std::string& name, const at::Tensor& value, std::int64_t samples) {
    auto place = std::find_if(sums_.begin(), sums_.end(),
                              [&](const auto& sum) { return sum.first == name; });
    if (place == sums_.end()) place = sums_.insert(sums_.end(), {name, 0.0});
    place->second += value.item<double>() * static_cast<double>(samples);
  }

  Scores sums_;
  std::int64_t samples_ = 0;
};

}  // namespace

struct Evaluator::Set {
  std::string name;
  const SplitOptions* split;
  SplitSource source;
  std::vector<std::shared_ptr<Metric>> metrics;
  std::vector<std::shared_ptr<Metric>> sample_metrics;  // of one sample at a time
};

Evaluator::~Evaluator() = default;

Evaluator::Evaluator(const Experiment& experiment, const SplitSets& splits,
                     const std::shared_ptr<MemoryBudget>& cache)
    : experiment_(experiment) {
  for (const auto& [name, split] : splits.sets) {
    auto set = std::make_unique<Set>();
    set->name = name;
    set->split = &split;
    set->source = open_split(experiment, split, cache);
    set->metrics = build_metrics(experiment);
    set->sample_metrics = build_metrics(experiment);
    sets_.push_back(std::move(set));
  }
}

Scores Evaluator::run(const inference::Predictor& predictor, const std::function<bool()>& cancelled,
                      const Visitor& visit) {
  const at::NoGradGuard no_grad;  // not inference mode: see Runner's validation
  Scores scores;
  for (const auto& set : sets_) {
    if (cancelled && cancelled()) break;
    measure(*set, predictor, cancelled, visit, scores);
  }
  return scores;
}

void Evaluator::measure(Set& set, const inference::Predictor& predictor,
                        const std::function<bool()>& cancelled, const Visitor& visit,
                        Scores& scores) {
  for (const auto& metric : set.metrics) metric->reset();
  LossMeans losses;
  std::uint64_t number = 0;
  const auto loader = make_loader(set.source, experiment_, *set.split, /*training=*/false);
  const c10::Device device = device_of(experiment_);
  const bool channels_last = wants_channels_last(experiment_);
  while (auto batch = loader->next()) {
    if (cancelled && cancelled()) return;
    const Batch moved = inference::to_device(*batch, device, channels_last);
    const Outputs outputs = predictor.predict(moved);
    for (const auto& metric : set.metrics) metric->update(outputs, moved);
    if (experiment_.evaluate.loss) {
      TrainContext context;
      context.random = Philox(static_cast<std::uint64_t>(experiment_.runtime.seed),
                              kEvaluationStreams + number++);
      losses.add(predictor.first_model().loss(moved, context), moved.size());
    }
    if (visit) visit(visit_of(set, moved, outputs));
  }
  const std::string prefix = set.name.empty() ? "" : set.name + ".";
  for (const auto& metric : set.metrics) {
    for (const auto& [name, value] : metric->scores()) scores.emplace_back(prefix + name, value);
  }
  losses.append_to(scores, prefix);
}

Visit Evaluator::visit_of(Set& set, const Batch& batch, const Outputs& outputs) const {
  const auto measure_one = [&set, &batch, &outputs](Metric& metric, std::int64_t n) {
    metric.reset();
    metric.update(sample_of(outputs, n), inference::part_of(batch, n, 1));
    return metric.scores();
  };
  Visit visit{set.name, batch, outputs, {}, {}};
  visit.scores = [&set, measure_one](std::int64_t n) {
    Scores all;
    for (const auto& metric : set.sample_metrics) {
      for (auto& score : measure_one(*metric, n)) all.push_back(std::move(score));
    }
    return all;
  };
  visit.rank = [&set, measure_one, name = rank_name()](std::int64_t n) {
    for (const auto& metric : set.sample_metrics) {
      if (place_of(metric->scores(), name) < 0) continue;
      const Scores scores = measure_one(*metric, n);
      return scores[static_cast<std::size_t>(place_of(scores, name))].second;
    }
    return std::nan("");
  };
  return visit;
}

std::string Evaluator::rank_name() const {
  if (sets_.empty() || sets_.front()->metrics.empty()) return "";
  std::string best = experiment_.evaluate.best;
  for (const auto& set : sets_) {
    const std::string prefix = set->name + ".";
    if (!set->name.empty() && best.starts_with(prefix)) best = best.substr(prefix.size());
  }
  for (const auto& metric : sets_.front()->metrics) {
    if (place_of(metric->scores(), best) >= 0) return best;
  }
  return summary_score(sets_.front()->metrics.front()->scores());
}

std::vector<Evaluator::Measured> Evaluator::measured() const {
  std::vector<Measured> all;
  for (const auto& set : sets_) {
    for (std::size_t i = 0; i < set->metrics.size(); ++i) {
      all.push_back({set->name, experiment_.evaluate.metrics[i].first, set->metrics[i]->table(),
                     set->metrics[i]->confusion()});
    }
  }
  return all;
}

std::string Evaluator::tables() const {
  std::string text;
  for (const Measured& one : measured()) {
    const std::string table = text_of(one.table);
    if (table.empty()) continue;
    text += (text.empty() ? "" : "\n\n") + (one.set.empty() ? "" : one.set + "\n") + table;
  }
  return text;
}

bool measures_anything(const EvaluateOptions& evaluate) {
  return evaluate.loss || !evaluate.metrics.empty();
}

namespace {

/// The names that metrics give, without those of sets; what is wrong with metrics goes to
/// `problems`.
std::vector<std::string> metric_names(const Experiment& experiment,
                                      std::vector<Problem>& problems) {
  std::map<std::string, std::string> owner;  // of each name
  std::vector<std::string> names;
  for (const auto& [key, slot] : experiment.evaluate.metrics) {
    try {
      for (const auto& [name, value] : slot.build({experiment.labels})->scores()) {
        const auto [place, is_new] = owner.emplace(name, key);
        if (is_new) {
          names.push_back(name);
        } else if (place->second != key) {
          problems.push_back(slot.problem("", "gives a number named \"" + name +
                                                  "\", as evaluate.metrics." + place->second +
                                                  " does; set `prefix` in one of them"));
          break;
        }
      }
    } catch (const ConfigError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  }
  return names;
}

/// What is wrong with following this score in validation; "" when nothing is.
std::string why_not_measured(const Experiment& experiment, const std::vector<std::string>& names,
                             const std::string& score) {
  std::vector<std::string> all;
  for (const auto& [set, split] : experiment.data.val.sets) {
    const std::string prefix = set.empty() ? "" : set + ".";
    for (const std::string& name : names) all.push_back(prefix + name);
    if (!experiment.evaluate.loss) continue;
    // The terms' names are the model's; they show when it runs.
    if (score.starts_with(prefix + "loss.")) return "";
    all.push_back(prefix + "loss");
  }
  if (std::find(all.begin(), all.end(), score) != all.end()) return "";
  std::string cure = did_you_mean(score, all);
  for (const std::string& name : all) {
    if (cure.empty() && name.ends_with("." + score)) cure = "; did you mean \"" + name + "\"?";
  }
  if (score == "loss" || score.ends_with(".loss")) {
    cure = "; set evaluate.loss = true to measure it";
  }
  return "no metric gives such a number, got \"" + score + "\"" + cure;
}

}  // namespace

void check_evaluation(const Experiment& experiment, std::vector<Problem>& problems) {
  const std::size_t before = problems.size();
  const std::vector<std::string> names = metric_names(experiment, problems);
  if (problems.size() > before || experiment.data.val.sets.empty()) return;
  if (!measures_anything(experiment.evaluate)) return;
  const std::string& best = experiment.evaluate.best;
  if (const config::Value* written = experiment.document.root.at("evaluate.best");
      !best.empty() && written != nullptr) {
    const std::string what = why_not_measured(experiment, names, best);
    if (!what.empty()) problems.push_back({written->origin, "evaluate.best", what});
  }
  for (const auto& [key, slot] : experiment.hooks) {
    const std::string monitor = slot.ask(&Hook::Statics::monitor);
    if (monitor.empty()) continue;
    const std::string what = why_not_measured(experiment, names, monitor);
    if (!what.empty()) problems.push_back(slot.problem("monitor", what));
  }
}

}  // namespace strata::engine
