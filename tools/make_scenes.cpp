// make_scenes: draws the bitemporal data set of quickstart and the tests, or scores pixel
// differencing on one.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "framework/data/differencing.hpp"
#include "framework/data/scenes.hpp"
#include "tools/common.hpp"

namespace strata::tools {
namespace {

void print_baseline(const std::string& folder) {
  const auto results = data::fit_differencing(std::filesystem::path(folder) / "train",
                                              std::filesystem::path(folder) / "test");
  std::printf("%-32s %9s %11s %11s\n", "pixel differencing", "threshold", "F1 (train)",
              "F1 (test)");
  for (const data::Differencing& result : results) {
    std::printf("%-32s %9.1f %11.4f %11.4f\n", result.method.c_str(), result.threshold,
                result.train_f1, result.test_f1);
  }
  std::printf("best differencing: f1.changed %.4f on %s/test (%s, fitted on %s/train)\n",
              results.front().test_f1, folder.c_str(), results.front().method.c_str(),
              folder.c_str());
}

void make(const data::SceneSetOptions& options) {
  const std::string out = options.out.string();
  int shown = -1;
  const auto result = data::make_scene_set(options, [&](int done, int total) {
    const int percent = total == 0 ? 100 : done * 100 / total;
    if (percent / 10 != shown) {
      shown = percent / 10;
      std::fprintf(stderr, "make_scenes: %d of %d pairs drawn\n", done, total);
    }
  });
  std::printf("%s: %d training, %d validation and %d test pairs of %d x %d pixels, seed %llu%s\n",
              out.c_str(), options.train, options.val, options.test, options.size, options.size,
              static_cast<unsigned long long>(options.seed),
              result == data::SceneSetResult::up_to_date ? " (already there)" : "");
}

}  // namespace

int run_make_scenes(int argc, char** argv) {
  CLI::App app(
      "Draws a data set of aerial-like scenes at two dates, with exact labels, or scores pixel "
      "differencing on one.",
      "make_scenes");
  data::SceneSetOptions options;
  std::string out = "data/scenes";
  std::string baseline;
  app.add_option("--out", out, "folder to write")->capture_default_str();
  app.add_option("--train", options.train, "training pairs")->capture_default_str();
  app.add_option("--val", options.val, "validation pairs")->capture_default_str();
  app.add_option("--test", options.test, "test pairs")->capture_default_str();
  app.add_option("--size", options.size, "pixels a side")->capture_default_str();
  app.add_option("--seed", options.seed, "every picture follows from it")->capture_default_str();
  app.add_option("--jobs", options.jobs, "threads; 0: one a core")->capture_default_str();
  app.add_option(
      "--baseline", baseline,
      "score pixel differencing on this folder (train/ fits, test/ counts); draws nothing");
  return run_tool(app, argc, argv, [&] {
    if (!baseline.empty()) {
      print_baseline(baseline);
    } else {
      options.out = out;
      make(options);
    }
    return kOk;
  });
}

}  // namespace strata::tools
