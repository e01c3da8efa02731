// Measuring a model on the sets of a split.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/engine/experiment.hpp"
#include "framework/inference/predictor.hpp"

namespace strata::engine {

/// One evaluated batch.
struct Visit {
  const std::string& set;  // "" for the unnamed one
  const Batch& batch;
  const Outputs& outputs;
  /// Scores of sample `n` alone, by the names that metrics give them.
  std::function<Scores(std::int64_t n)> scores;
  /// One of them: that of `evaluate.best`, or else the first that is of no class.
  std::function<double(std::int64_t n)> rank;
};
using Visitor = std::function<void(const Visit&)>;

/// Measures models, again and again: files are listed once.
class STRATA_API Evaluator {
 public:
  /// Refers to both for as long as it lives. `cache`: memory to keep decoded samples in from one
  /// run to the next; null: none.
  Evaluator(const Experiment& experiment, const SplitSets& splits,
            const std::shared_ptr<MemoryBudget>& cache = nullptr);
  ~Evaluator();

  /// Scores of what `predictor` predicts (its models in eval mode): those of the metrics, then with
  /// `evaluate.loss` "loss" and "loss.<term>" (means over the samples; of an ensemble's first
  /// model), prefixed with "<set>." of named sets. Stops early, with what it has, once `cancelled`
  /// says so.
  Scores run(const inference::Predictor& predictor,
             const std::function<bool()>& cancelled = nullptr, const Visitor& visit = nullptr);

  /// A metric of a set after the last run.
  struct Measured {
    std::string set;     // "" for the unnamed one
    std::string metric;  // key under evaluate.metrics
    ScoreTable table;
    std::optional<ConfusionTable> confusion;
  };
  std::vector<Measured> measured() const;
  /// The number that ranks samples (Visit::rank); "" without metrics.
  std::string rank_name() const;
  /// The tables of the last run as text.
  std::string tables() const;

 private:
  struct Set;
  Visit visit_of(Set& set, const Batch& batch, const Outputs& outputs) const;
  void measure(Set& set, const inference::Predictor& predictor,
               const std::function<bool()>& cancelled, const Visitor& visit, Scores& scores);

  const Experiment& experiment_;
  std::vector<std::unique_ptr<Set>> sets_;
};

/// Whether anything is to be measured: a metric, or the loss.
STRATA_API bool measures_anything(const EvaluateOptions& evaluate);

/// What is wrong with [evaluate] for these labels and validation sets: metrics that cannot be
/// built, two that give one name, an `evaluate.best` or a hook's `monitor` that none gives.
STRATA_API void check_evaluation(const Experiment& experiment, std::vector<Problem>& problems);

}  // namespace strata::engine
