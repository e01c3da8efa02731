// predict: label maps and pictures of images, pairs or folders of them.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>

#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/engine/report.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/changed_only.hpp"
#include "framework/io/raster.hpp"
#include "tools/predictions.hpp"
#include "tools/trained.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

struct PredictArguments {
  ConfigArguments config;
  ServingArguments serving;
  std::string weights, out;
  std::vector<std::string> in;
  Products products;
  bool changed_only = false;
};

/// What is written of a model's results.
using Coding = std::function<Outputs(const Outputs&)>;

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// Files of one input by stem: the file itself, or every picture of a folder.
std::map<std::string, std::string> files_of(const std::string& input, const Reader& reader) {
  std::map<std::string, std::string> files;
  if (fs::is_regular_file(input)) return {{fs::path(input).stem().string(), input}};
  if (!fs::is_directory(input)) throw DataError(input + ": does not exist");
  for (const auto& entry : fs::directory_iterator(input)) {
    if (!entry.is_regular_file() || !reader.takes(entry.path().string())) continue;
    files[entry.path().stem().string()] = entry.path().string();
  }
  if (files.empty()) {
    throw DataError(input + ": holds no picture that data.reader takes");
  }
  return files;
}

struct Item {
  std::string name;
  std::vector<std::string> paths;  // one a date
  std::vector<std::vector<std::string>> tags = {};
};

std::vector<Item> list_items(const std::vector<std::string>& inputs, std::int64_t dates,
                             const Reader& reader) {
  if (static_cast<std::int64_t>(inputs.size()) != dates) {
    throw UserError("--in: the model takes " + std::to_string(dates) +
                    (dates == 1 ? " image" : " images, one a date") + ", got " +
                    std::to_string(inputs.size()));
  }
  std::vector<Item> items;
  const auto first = files_of(inputs.front(), reader);
  for (const auto& [name, path] : first) items.push_back({name, {path}});
  for (std::size_t date = 1; date < inputs.size(); ++date) {
    const auto others = files_of(inputs[date], reader);
    // Two single files are a pair whatever their names.
    if (first.size() == 1 && others.size() == 1 && fs::is_regular_file(inputs[date])) {
      items.front().paths.push_back(others.begin()->second);
      continue;
    }
    std::vector<std::string> unpaired;
    for (Item& item : items) {
      auto other = others.find(item.name);
      if (other == others.end()) {
        unpaired.push_back(item.name);
      } else {
        item.paths.push_back(other->second);
      }
    }
    if (!unpaired.empty()) {
      unpaired.resize(std::min<std::size_t>(unpaired.size(), 5));
      throw DataError(inputs[date] + ": has no picture for " + join(unpaired) + " of " +
                      inputs.front() + "; dates are paired by file name");
    }
  }
  return items;
}

using Sources = std::vector<std::shared_ptr<io::RasterSource>>;

// Whether some corner of a picture that lies at `place` is half a pixel off that of another.
bool lies_elsewhere(const io::GeoReference& place, const io::RasterSource& other) {
  const io::GeoReference there = other.place();
  if (!place.known() || !there.known()) return false;
  if (!place.name.empty() && !there.name.empty() && place.name != there.name) return true;
  const auto& t = *there.transform;
  const double pixel = std::hypot(t[1], t[4]);
  const auto height = static_cast<double>(other.height());
  const auto width = static_cast<double>(other.width());
  for (const auto& [x, y] : {std::pair{0.0, 0.0}, std::pair{width, 0.0}, std::pair{0.0, height}}) {
    const auto a = place.world(x, y), b = there.world(x, y);
    if (std::hypot(a[0] - b[0], a[1] - b[1]) > pixel / 2) return true;
  }
  return false;
}

Sources open_dates(const Item& item, const Reader& reader) {
  Sources dates;
  for (const std::string& path : item.paths) {
    dates.push_back(reader.open(path));
    const io::RasterSource &last = *dates.back(), &first = *dates.front();
    if (last.height() != first.height() || last.width() != first.width()) {
      throw DataError(path + ": is " + std::to_string(last.height()) + " x " +
                      std::to_string(last.width()) + ", the first date is " +
                      std::to_string(first.height()) + " x " + std::to_string(first.width()));
    }
    if (lies_elsewhere(last.place(), first)) {
      throw DataError(path + ": lies elsewhere than the first date, " + item.paths.front() +
                      "; resample one to the grid of the other");
    }
  }
  return dates;
}

// A window of all dates as a batch of one.
Batch read_window(const Item& item, const Sources& dates, std::int64_t top, std::int64_t left,
                  std::int64_t height, std::int64_t width) {
  Batch batch;
  for (const auto& date : dates) {
    batch.images.push_back(date->read(top, left, height, width).permute({2, 0, 1}).unsqueeze(0));
  }
  SampleMeta meta;
  meta.name = item.name;
  meta.paths = item.paths;
  meta.tags = item.tags;
  meta.height = meta.original_height = height;
  meta.width = meta.original_width = width;
  batch.meta.push_back(meta);
  return batch;
}

// Pixels that hold nothing at one date or another.
at::Tensor missing_in(const Sources& dates, std::int64_t top, std::int64_t left,
                      std::int64_t height, std::int64_t width) {
  at::Tensor any;
  for (const auto& date : dates) {
    const at::Tensor missing = date->missing(top, left, height, width);
    if (missing.defined()) any = any.defined() ? any.logical_or(missing) : missing;
  }
  return any;
}

// Whether the results of a picture, and so all that is made of them, fit into memory. What does not
// is predicted window by window, when the config has windows.
bool fits(const Experiment& experiment, const Scene& scene) {
  constexpr std::int64_t kWholePixels = std::int64_t{1} << 25;  // without a limit
  const std::int64_t pixels = scene.height * scene.width;
  const std::int64_t memory = experiment.evaluate.inference.memory.bytes;
  if (memory == 0) return pixels <= kWholePixels;
  std::int64_t planes = 0;
  for (const LabelSpec& label : experiment.labels.all()) planes += label.num_classes();
  return pixels * planes * static_cast<std::int64_t>(sizeof(float)) <= memory;
}

void predict_whole(const Item& item, const Scene& scene, const Sources& dates,
                   const inference::Predictor& predictor, const Coding& coding,
                   const Predictions& predictions) {
  const Batch batch = read_window(item, dates, 0, 0, scene.height, scene.width);
  std::vector<at::Tensor> images;
  for (const at::Tensor& each : batch.images) images.push_back(each[0].permute({1, 2, 0}));
  predictions.write(scene, images, missing_in(dates, 0, 0, scene.height, scene.width),
                    coding(inference::restore(predictor.predict(batch), batch, 0)));
}

// What becomes black and white, from small windows all over a date.
inference::Stretch stretch_from(const io::RasterSource& date) {
  constexpr std::int64_t kParts = 8, kSide = 64;
  const std::int64_t height = std::min(kSide, date.height()), width = std::min(kSide, date.width());
  std::vector<at::Tensor> windows;
  for (std::int64_t i = 0; i < kParts * kParts; ++i) {
    const std::int64_t top = (date.height() - height) * (i / kParts) / (kParts - 1);
    const std::int64_t left = (date.width() - width) * (i % kParts) / (kParts - 1);
    windows.push_back(date.read(top, left, height, width));
  }
  return inference::stretch_of(at::cat(windows));
}

void predict_strips(const Item& item, const Scene& scene, const Sources& dates,
                    const inference::Predictor& predictor, const Coding& coding,
                    const Predictions& predictions, bool overlay) {
  Predictions::Strips strips(predictions, scene);
  std::int64_t pixels = 0;
  predictor.predict(
      scene.height, scene.width,
      [&](std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width) {
        return read_window(item, dates, top, left, height, width);
      },
      [&](std::int64_t top, std::int64_t left, const Outputs& block) {
        const at::Tensor& data = block.front().second.data;
        const std::int64_t height = data.size(-2), width = data.size(-1);
        strips.write(top, left, coding(block), missing_in(dates, top, left, height, width));
        pixels += height * width;
        log::status(fmt::format(
            "{}: {:.0f} %", scene.name,
            100.0 * static_cast<double>(pixels) / static_cast<double>(scene.height * scene.width)));
      });
  std::vector<inference::Stretch> stretches(dates.size());
  for (std::size_t i = 0; i < dates.size() && overlay; ++i) stretches[i] = stretch_from(*dates[i]);
  strips.finish([&](std::size_t date, std::int64_t top,
                    std::int64_t rows) { return dates[date]->read(top, 0, rows, scene.width); },
                stretches);
  log::status("");
}

void predict_with(const PredictArguments& arguments) {
  Loaded loaded = load_to_run(arguments.config);
  const Experiment& experiment = loaded.experiment;
  // Probabilities are written in whole rows, which take what they take.
  if (arguments.products.probabilities) loaded.experiment.evaluate.inference.memory = {};
  const std::shared_ptr<const Reader> reader = engine::make_reader(experiment);
  std::vector<Item> items =
      list_items(arguments.in, experiment.model.ask(&Segmentor::Statics::dates), *reader);
  if (const auto tags = engine::make_tags(experiment)) {
    for (Item& item : items) item.tags = tags->of(item.paths);
  }
  const inference::Predictor predictor = make_predictor(
      loaded, find_weights(experiment, arguments.weights), arguments.serving, arguments.config);
  Products products = arguments.products;
  products.memory = experiment.evaluate.inference.memory.bytes;
  Coding coding = [](const Outputs& outputs) { return outputs; };
  LabelSpecs labels = experiment.labels;
  if (arguments.changed_only) {
    const inference::ChangedOnly changed(labels);
    labels = changed.labels();
    coding = changed;
  }
  const Predictions predictions(
      arguments.out, labels, products,
      experiment.data.writer ? experiment.data.writer.build({}) : nullptr);
  c10::InferenceMode guard;
  for (const Item& item : items) {
    const Sources dates = open_dates(item, *reader);
    const Scene scene{item.name, dates.front()->height(), dates.front()->width(),
                      dates.front()->place()};
    if (!experiment.evaluate.inference.slides() || fits(experiment, scene)) {
      predict_whole(item, scene, dates, predictor, coding, predictions);
      continue;
    }
    predict_strips(item, scene, dates, predictor, coding, predictions,
                   arguments.products.overlay);
  }
  engine::write_report((fs::path(arguments.out) / "..").lexically_normal().string());
  std::printf("%zu predictions in %s\n", items.size(), arguments.out.c_str());
}

}  // namespace

int run_predict(int argc, char** argv) {
  CLI::App app("Predicts images, pairs, folders or rasters: label map and overlay of each.",
               "predict");
  PredictArguments arguments;
  add_config(app, arguments.config);
  add_device(app, arguments.config);
  app.add_option("weights", arguments.weights,
                 "weight file or checkpoint folder; default: the run's best");
  app.add_option("--in", arguments.in, "image or folder, one a date")->required()->expected(1, 8);
  app.add_option("--out", arguments.out, "folder for the results")->required();
  app.add_flag("--probabilities", arguments.products.probabilities,
               "also write class probabilities: [C, H, W] as safetensors, or by data.writer");
  app.add_flag("--polygons", arguments.products.polygons,
               "also write the areas of each class as GeoJSON: in pixels, or in the reference "
               "system of the image if it has one");
  app.add_option("--simplify", arguments.products.outlines.tolerance,
                 "of polygons: pixels by which an outline may be off; default: 0, every corner")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--min-area", arguments.products.outlines.min_area,
                 "of polygons: leave out areas and holes of fewer pixels")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--opacity", arguments.products.opacity, "of the classes in the overlay; 0.5")
      ->check(CLI::Range(0.0, 1.0));
  app.add_flag("!--no-overlay", arguments.products.overlay, "leave the overlays out");
  app.add_flag("--changed-only", arguments.changed_only,
               "maps of what stands there name it only where something changed, as SECOND does: 0 "
               "is unchanged, class c is c + 1");
  add_serving(app, arguments.serving);
  return run_tool(app, argc, argv, [&] {
    predict_with(arguments);
    return kOk;
  });
}

}  // namespace strata::tools
