// test: scores of a trained model on the test split.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "framework/base/files.hpp"
#include "framework/engine/evaluator.hpp"
#include "framework/engine/per_image.hpp"
#include "framework/engine/report.hpp"
#include "framework/engine/report/record.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/changed_only.hpp"
#include "framework/io/image.hpp"
#include "tools/trained.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

struct TestArguments {
  ConfigArguments config;
  ServingArguments serving;
  std::string weights, metrics_out, save, per_image;
  bool changed_only = false;
};

std::string to_json(const Scores& scores) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : scores) {
    // NaN (a class that never occurs) has no JSON form.
    object[name] = std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
  }
  return object.dump(2) + "\n";
}

void save_labels(const std::string& folder, const LabelSpecs& specs, const std::string& set,
                 const Batch& batch, const Outputs& outputs) {
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    for (const auto& [name, output] : inference::restore(outputs, batch, n)) {
      const LabelSpec* label = specs.find(output.target);
      if (label == nullptr || output.kind == Output::Kind::value) continue;
      const fs::path to = fs::path(folder) / set / output.target / (batch.meta[n].name + ".png");
      make_folder(to.parent_path().string());
      io::write_label_png(to.string(), labels(output)[0].to(at::kByte).contiguous(),
                          label->palette);
    }
  }
}

void test_with(const TestArguments& arguments) {
  const Loaded loaded = load_to_run(arguments.config);
  const Experiment& experiment = loaded.experiment;
  const bool has_test = !experiment.data.test.sets.empty();
  const SplitSets& splits = has_test ? experiment.data.test : experiment.data.val;
  if (splits.sets.empty()) {
    throw UserError(arguments.config.config +
                    ": data.test: is missing: testing needs [data.test] "
                    "(or [data.val])");
  }
  const std::string weights = find_weights(experiment, arguments.weights);
  engine::Evaluator evaluator(experiment, splits);
  const inference::Predictor predictor =
      make_predictor(loaded, weights, arguments.serving, arguments.config);
  engine::PerImageCsv per_image;
  engine::EvaluationRecord record(experiment.labels);
  std::optional<inference::ChangedOnly> changed;
  if (arguments.changed_only) {
    if (arguments.save.empty()) throw UserError("--changed-only: is for --save");
    changed.emplace(experiment.labels);
  }
  engine::Visitor visit;
  if (!arguments.save.empty() || !arguments.per_image.empty() || !arguments.metrics_out.empty()) {
    visit = [&](const engine::Visit& seen) {
      if (!arguments.metrics_out.empty()) record.add(seen);
      if (!arguments.per_image.empty()) per_image.add(seen);
      if (arguments.save.empty()) return;
      save_labels(arguments.save, changed ? changed->labels() : experiment.labels, seen.set,
                  seen.batch, changed ? (*changed)(seen.outputs) : seen.outputs);
    };
  }
  const Scores scores = evaluator.run(predictor, nullptr, visit);
  if (!arguments.per_image.empty()) write_text(arguments.per_image, per_image.text());
  std::fprintf(stderr, "%s on %s\n", weights.c_str(), has_test ? "data.test" : "data.val");
  std::printf("%s\n", evaluator.tables().c_str());
  if (!arguments.metrics_out.empty()) {
    write_text(arguments.metrics_out, to_json(scores));
    const fs::path folder = fs::path(arguments.metrics_out).parent_path();
    // Into a run's folder: its report shows the test, too.
    if (fs::exists(folder / "scalars.jsonl")) {
      const std::string what = weights + " on " + (has_test ? "data.test" : "data.val");
      write_text((folder / "test.json").string(), record.text(evaluator, what));
    }
    engine::write_report(folder.string());
  }
}

}  // namespace

int run_test(int argc, char** argv) {
  CLI::App app("Scores a trained model on the test split.", "test");
  TestArguments arguments;
  add_config(app, arguments.config);
  add_device(app, arguments.config);
  app.add_option("weights", arguments.weights,
                 "weight file or checkpoint folder; default: the run's best");
  app.add_option("--metrics-out", arguments.metrics_out,
                 "write the scores as JSON, name to number");
  app.add_option("--per-image", arguments.per_image, "write the scores of each image as CSV");
  app.add_option("--save", arguments.save, "write the predicted label maps into this folder");
  app.add_flag("--changed-only", arguments.changed_only,
               "of --save: maps of what stands there name it only where something changed, as "
               "SECOND does: 0 is unchanged, class c is c + 1");
  add_serving(app, arguments.serving);
  return run_tool(app, argc, argv, [&] {
    test_with(arguments);
    return kOk;
  });
}

}  // namespace strata::tools
