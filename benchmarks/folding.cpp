// bench_folding CONFIG [HEIGHT WIDTH PASSES]: predictions with batch norm by itself, folded into
// its convolution in each call, and folded once; interleaved, medians, and how far results differ.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>

#include "framework/engine/session.hpp"
#include "framework/inference/serving.hpp"
#include "framework/nn/fold_cache.hpp"
#include "registry/builtin.hpp"

int main(int argc, char** argv) {
  using namespace strata;
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_folding CONFIG [HEIGHT WIDTH PASSES]\n");
    return 2;
  }
  const std::int64_t height = argc > 2 ? std::stoll(argv[2]) : 256;
  const std::int64_t width = argc > 3 ? std::stoll(argv[3]) : 256;
  const int passes = argc > 4 ? std::stoi(argv[4]) : 9;
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment = load_experiment(argv[1], {}, registry);
  engine::apply_runtime(experiment);
  const auto model = experiment.build_model();
  inference::place(*model, at::kCPU, true);
  Batch batch;
  for (std::int64_t d = 0; d < model->dates(); ++d) {
    batch.images.push_back(
        at::randint(0, 256, {1, experiment.data.channels, height, width}, at::kByte));
  }
  batch.meta.resize(1);
  {
    // A few batches in training mode give the batch norms statistics to fold.
    const at::NoGradGuard no_grad;
    model->train();
    for (int i = 0; i < 3; ++i) model->predict(batch);
  }
  model->eval();
  for (at::Tensor& parameter : model->parameters()) parameter.set_requires_grad(false);
  nn::FoldCache cache;
  struct Way {
    const char* name;
    bool gradients;  // on: nothing is folded; no parameter asks for one, so nothing else changes
    nn::FoldCache* cache;
    std::vector<double> milliseconds{};
    at::Tensor result{};
  };
  std::vector<Way> ways = {{"batch norm by itself", true, nullptr},
                           {"folded in each call", false, nullptr},
                           {"folded once", false, &cache}};
  for (int pass = -1; pass < passes; ++pass) {
    for (Way& way : ways) {
      const at::AutoGradMode mode(way.gradients);
      const nn::FoldCache::Use use(way.cache);
      const auto start = std::chrono::steady_clock::now();
      way.result = model->predict(batch).front().second.data;
      const std::chrono::duration<double, std::milli> time =
          std::chrono::steady_clock::now() - start;
      if (pass >= 0) way.milliseconds.push_back(time.count());
    }
  }
  const at::Tensor& plain = ways.front().result;
  const double scale = plain.abs().max().item<double>();
  for (Way& way : ways) {
    std::sort(way.milliseconds.begin(), way.milliseconds.end());
    std::printf("%-22s median %8.1f ms, fastest %8.1f ms, off by %.1e of the largest logit\n",
                way.name, way.milliseconds[way.milliseconds.size() / 2], way.milliseconds.front(),
                (way.result - plain).abs().max().item<double>() / scale);
  }
}
