// inspect: what a config's model is made of, before it is trained.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstdio>

#include "framework/engine/session.hpp"
#include "tools/flops.hpp"
#include "tools/loading.hpp"

namespace strata::tools {
namespace {

std::int64_t elements(const torch::nn::Module& module, bool trainable_only = false) {
  std::int64_t count = 0;
  for (const at::Tensor& parameter : module.parameters()) {
    if (!trainable_only || parameter.requires_grad()) count += parameter.numel();
  }
  return count;
}

std::string with_commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return digits;
}

void print_tree(const torch::nn::Module& module, const std::string& name, int depth, int levels) {
  std::printf("%-40s %15s\n", (std::string(2 * depth, ' ') + name).c_str(),
              with_commas(elements(module)).c_str());
  if (depth >= levels) return;
  for (const auto& child : module.named_children()) {
    if (elements(*child.value()) > 0) print_tree(*child.value(), child.key(), depth + 1, levels);
  }
}

/// Shapes of everything that the model records, and its multiply-adds, for one image of this size.
void print_shapes(const Experiment& experiment, Segmentor& model, std::int64_t height,
                  std::int64_t width) {
  model.eval();
  Batch batch;
  for (std::int64_t date = 0; date < model.dates(); ++date) {
    batch.images.push_back(at::zeros({1, experiment.data.channels, height, width}));
  }
  batch.preprocessed = true;
  SampleMeta meta;
  meta.height = meta.original_height = height;
  meta.width = meta.original_width = width;
  batch.meta.push_back(meta);
  std::printf("\nshapes for %lld x %lld\n", static_cast<long long>(height),
              static_cast<long long>(width));
  auto print = [](const std::string& name, const at::Tensor& value) {
    std::printf("  %-38s [%s]\n", name.c_str(), fmt::format("{}", fmt::join(value.sizes(), ", ")).c_str());
  };
  model.attach_probe(print);
  at::NoGradGuard no_grad;
  Outputs outputs;
  const std::int64_t count = count_multiply_adds([&] { outputs = model.predict(batch); });
  for (const auto& [name, output] : outputs) print("out." + name, output.data);
  std::printf("multiply-adds of convolutions and matrix products: %.3f G\n",
              static_cast<double>(count) / 1e9);
  model.attach_probe(nullptr);
}

}  // namespace

int run_inspect(int argc, char** argv) {
  CLI::App app("Shows a model: parts, parameters, shapes, cost, optimizer groups.", "inspect");
  ConfigArguments arguments;
  std::vector<std::int64_t> size{256, 256};
  int levels = 2;
  add_config(app, arguments);
  app.add_option("--size", size, "height and width of the image that shapes are shown for")
      ->expected(2);
  app.add_option("--depth", levels, "levels of the tree")->capture_default_str();
  return run_tool(app, argc, argv, [&] {
    const Loaded loaded = load(arguments);
    const Experiment& experiment = loaded.experiment;
    const auto model = experiment.build_model();
    std::unique_ptr<optim::Freezer> freezer = engine::build_freezer(experiment, *model);
    if (freezer) freezer->apply(0);
    std::printf("%-40s %15s\n", "part", "parameters");
    print_tree(*model, experiment.model.type->name, 0, levels);
    std::printf("%s of them trained from the first step\n",
                with_commas(elements(*model, true)).c_str());
    print_shapes(experiment, *model, size[0], size[1]);
    for (const auto& group : engine::plan_trainers(experiment, *model, freezer.get())) {
      std::printf("\noptimizer%s%s\n%s\n", group.first.empty() ? "" : " ", group.first.c_str(),
                  group.second.table.c_str());
    }
    return kOk;
  });
}

}  // namespace strata::tools
