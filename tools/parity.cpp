// parity: the same weights and inputs through a model here, so that anyone can compare it with its
// reference implementation. Names of inputs and outputs: see docs/parity.md.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <cstdio>
#include <map>

#include "framework/base/json.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/session.hpp"
#include "framework/io/safetensors.hpp"
#include "framework/io/weights.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

struct ParityArguments {
  ConfigArguments config;
  std::string weights, inputs, outputs, meta;
  std::string mode = "eval", dtype = "float32";
  std::vector<std::string> allow;
  bool gradients = false, stochastic = false;
  std::int64_t steps = 0;
};

// Dropout and drop path draw numbers that no reference can repeat.
void switch_off_randomness(torch::nn::Module& model) {
  for (const auto& module : model.modules()) {
    if (module->name().find("Drop") != std::string::npos) module->eval();
  }
}

Batch read_batch(const std::string& path, const Experiment& experiment, at::ScalarType type) {
  Batch batch;
  batch.preprocessed = true;
  std::map<std::int64_t, at::Tensor> dates;
  for (const auto& [name, tensor] : io::read_safetensors(path).tensors) {
    if (name == "image") {
      dates[0] = tensor.to(type);
    } else if (name.rfind("image_", 0) == 0) {
      dates[std::stoll(name.substr(6))] = tensor.to(type);
    } else {
      // `label` stands for the only or first target; others go by their names.
      const LabelSpec* spec =
          name == "label" ? &experiment.labels.get("") : experiment.labels.find(name);
      if (spec == nullptr) {
        throw UserError(path + ": tensor \"" + name +
                        "\" is neither image, image_0, … nor a declared label");
      }
      batch.targets[spec->name] = {tensor.to(at::kLong), *spec};
    }
  }
  if (dates.empty()) throw UserError(path + ": has no tensor \"image\" or \"image_0\"");
  for (auto& [date, images] : dates) batch.images.push_back(images);
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    SampleMeta meta;
    meta.height = meta.original_height = batch.height();
    meta.width = meta.original_width = batch.width();
    batch.meta.push_back(meta);
  }
  return batch;
}

// Strings are no tensors. {"tags": [a sample: [a date: ["airport", "lake"], [...]], ...]}
void read_meta(const std::string& path, Batch& batch) {
  const Json json = read_json(path);
  if (!json.is_object()) throw DataError(path + ": expected an object, {\"tags\": [...]}");
  using Tags = std::vector<std::vector<std::vector<std::string>>>;
  for (const auto& [key, value] : json.items()) {
    if (key != "tags") throw DataError(path + ": unknown key \"" + key + "\"; known is \"tags\"");
    Tags tags;
    try {
      tags = value.get<Tags>();
    } catch (const Json::type_error&) {
      throw DataError(path + ": tags: expected a list of strings a date, in a list a sample");
    }
    const std::size_t dates = batch.images.size();
    if (tags.size() != batch.meta.size()) {
      throw DataError(fmt::format("{}: tags: has {} samples, the inputs have {}", path, tags.size(),
                                  batch.meta.size()));
    }
    for (std::size_t n = 0; n < tags.size(); ++n) {
      if (!tags[n].empty() && tags[n].size() != dates) {
        throw DataError(fmt::format("{}: tags.{}: has {} dates, the inputs have {}", path, n,
                                    tags[n].size(), dates));
      }
      batch.meta[n].tags = std::move(tags[n]);
    }
  }
}

class Collected {
 public:
  void put(const std::string& name, const at::Tensor& value) {
    tensors_.emplace_back(name, value.detach().clone());
  }
  void attach(Model& model) {
    model.attach_probe([this](const std::string& name, const at::Tensor& value) {
      put(name, value);
    });
  }
  void write(const std::string& path) const { io::write_safetensors(path, tensors_); }
  std::size_t size() const { return tensors_.size(); }

 private:
  TensorMap tensors_;
};

void parity_with(const ParityArguments& arguments) {
  const Loaded loaded = load(arguments.config);
  const Experiment& experiment = loaded.experiment;
  const at::ScalarType type = arguments.dtype == "float64" ? at::kDouble : at::kFloat;
  auto model = experiment.build_model();
  model->to(type);
  io::load_state(*model, io::read_tensors(engine::weights_of(arguments.weights)).tensors, arguments.weights,
                 {.allow = arguments.allow});
  Batch batch = read_batch(arguments.inputs, experiment, type);
  if (!arguments.meta.empty()) read_meta(arguments.meta, batch);

  const bool train = arguments.mode == "train";
  model->train(train);
  if (!arguments.stochastic) switch_off_randomness(*model);
  Collected out;
  TrainContext context;
  if (batch.targets.empty() || !train) {
    out.attach(*model);
    at::NoGradGuard no_grad;
    for (const auto& [name, output] : model->predict(batch)) {
      out.put("out." + name, output.data);
      // "logits" -> "label", "change.logits" -> "change.label".
      const std::size_t dot = name.rfind('.');
      const std::string prefix = dot == std::string::npos ? "" : name.substr(0, dot + 1);
      if (output.kind != Output::Kind::value) out.put("out." + prefix + "label", labels(output));
    }
    model->attach_probe(nullptr);
  }
  if (!batch.targets.empty() && arguments.steps == 0) {
    if (train) out.attach(*model);
    const Losses losses = model->loss(batch, context);
    model->attach_probe(nullptr);
    for (const auto& [name, value] : losses.terms) out.put("loss." + name, value);
    for (const auto& [name, value] : losses.logged) out.put("logged." + name, value);
    out.put("loss.total", losses.total());
    if (arguments.gradients) {
      losses.total().backward();
      for (const auto& item : model->named_parameters()) {
        if (item.value().grad().defined()) out.put("grad." + item.key(), item.value().grad());
      }
    }
  }
  if (arguments.steps > 0) {
    const auto trainers = engine::build_trainers(experiment, *model, nullptr, arguments.steps);
    std::vector<at::Tensor> curve;
    for (std::int64_t step = 0; step < arguments.steps; ++step) {
      for (const auto& trainer : trainers) trainer.optimizer->zero_grad();
      context.step_number = step;
      curve.push_back(model->train_step(batch, context).total().detach());
      for (const auto& trainer : trainers) {
        trainer.optimizer->step(trainer.schedule ? trainer.schedule->factor(step) : 1.0);
      }
    }
    out.put("curve", at::stack(curve));
    for (const auto& item : model->named_parameters()) out.put("param." + item.key(), item.value());
  }
  out.write(arguments.outputs);
  std::printf("%s: %zu tensors\n", arguments.outputs.c_str(), out.size());
}

}  // namespace

int run_parity(int argc, char** argv) {
  CLI::App app("Runs a model on given weights and inputs and writes all it computes.", "parity");
  ParityArguments arguments;
  add_config(app, arguments.config);
  app.add_option("--weights", arguments.weights, "file of weights, every name must fit")->required();
  app.add_option("--inputs", arguments.inputs, "safetensors: image or image_0, …; targets")->required();
  app.add_option("--meta", arguments.meta, "JSON: tags, a list of strings a date and sample");
  app.add_option("--outputs", arguments.outputs, "safetensors to write")->required();
  app.add_option("--mode", arguments.mode)->check(CLI::IsMember({"eval", "train"}));
  app.add_option("--dtype", arguments.dtype)->check(CLI::IsMember({"float32", "float64"}));
  app.add_option("--allow", arguments.allow, "glob of weights that may be missing or unexpected");
  app.add_option("--steps", arguments.steps, "optimizer steps on the same batch");
  app.add_flag("--grads", arguments.gradients, "write the gradient of every parameter");
  app.add_flag("--stochastic", arguments.stochastic, "leave dropout and drop path on");
  return run_tool(app, argc, argv, [&] {
    parity_with(arguments);
    return kOk;
  });
}

}  // namespace strata::tools
