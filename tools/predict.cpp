// predict: label maps and pictures of images, pairs or folders of them.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "framework/base/files.hpp"
#include "framework/engine/report.hpp"
#include "framework/engine/session.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"
#include "framework/io/safetensors.hpp"
#include "registry/builtin.hpp"
#include "tools/common.hpp"
#include "tools/trained.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

struct PredictArguments {
  ConfigArguments config;
  std::string weights, out;
  std::vector<std::string> in;
  bool probabilities = false;
};

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

/// Files of one input by stem: the file itself, or every picture of a folder.
std::map<std::string, std::string> files_of(const std::string& input) {
  std::map<std::string, std::string> files;
  if (fs::is_regular_file(input)) return {{fs::path(input).stem().string(), input}};
  if (!fs::is_directory(input)) throw DataError(input + ": does not exist");
  for (const auto& entry : fs::directory_iterator(input)) {
    if (!entry.is_regular_file() || !io::is_image_name(entry.path().string())) continue;
    files[entry.path().stem().string()] = entry.path().string();
  }
  if (files.empty()) {
    throw DataError(input + ": holds no picture (known endings: " + join(io::image_suffixes()) + ")");
  }
  return files;
}

struct Item {
  std::string name;
  std::vector<std::string> paths;  // one a date
};

std::vector<Item> list_items(const std::vector<std::string>& inputs, std::int64_t dates) {
  if (static_cast<std::int64_t>(inputs.size()) != dates) {
    throw UserError("--in: the model takes " + std::to_string(dates) +
                    (dates == 1 ? " image" : " images, one a date,") + ", got " +
                    std::to_string(inputs.size()));
  }
  std::vector<Item> items;
  const auto first = files_of(inputs.front());
  for (const auto& [name, path] : first) items.push_back({name, {path}});
  for (std::size_t date = 1; date < inputs.size(); ++date) {
    const auto others = files_of(inputs[date]);
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

class Writer {
 public:
  Writer(const PredictArguments& arguments, const Experiment& experiment)
      : folder_(arguments.out), experiment_(experiment), probabilities_(arguments.probabilities) {
    make_folder(folder_.string());
  }

  void write(const Item& item, const std::vector<at::Tensor>& images, const Outputs& outputs) const {
    std::size_t dense = 0;
    for (const auto& [name, output] : outputs) dense += output.kind != Output::Kind::value;
    for (const auto& [name, output] : outputs) {
      if (output.kind == Output::Kind::value) continue;
      const LabelSpec* label = experiment_.labels.find(output.target);
      if (label == nullptr) continue;
      // One target: NAME.png; several: NAME.TARGET.png.
      const fs::path base = folder_ / (dense == 1 ? item.name : item.name + "." + output.target);
      const at::Tensor classes = labels(output)[0].to(at::kByte).contiguous();
      io::write_label_png(base.string() + ".png", classes, label->palette);
      io::write_png(base.string() + "_overlay.png", picture(images, classes, *label));
      if (probabilities_) {
        io::write_safetensors(base.string() + "_probabilities.safetensors",
                              {{"probabilities", probabilities(output)[0]}});
      }
    }
  }

 private:
  // All dates, then the last one (or the one a semantic map describes) with the classes over it.
  static at::Tensor picture(const std::vector<at::Tensor>& images, const at::Tensor& classes,
                            const LabelSpec& label) {
    const bool change = label.role == "change";
    const std::size_t date =
        change ? images.size() - 1 : std::min<std::size_t>(label.date, images.size() - 1);
    std::vector<at::Tensor> row = images;
    row.push_back(inference::overlay(images[date], classes, label, 0.5, change));
    if (change) row.push_back(inference::colourise(classes, label));
    return inference::side_by_side(row);
  }

  fs::path folder_;
  const Experiment& experiment_;
  bool probabilities_;
};

void predict_with(const PredictArguments& arguments) {
  Registry registry;
  register_builtin_components(registry);
  const Experiment experiment =
      load_experiment(arguments.config.config, all_overrides(arguments.config), registry);
  engine::apply_runtime(experiment);
  const std::vector<Item> items =
      list_items(arguments.in, experiment.model.ask(&Segmentor::Statics::dates));
  const auto model = trained_model(experiment, find_weights(experiment, arguments.weights));
  c10::InferenceMode guard;
  const Writer writer(arguments, experiment);
  for (const Item& item : items) {
    Batch batch;
    SampleMeta meta;
    std::vector<at::Tensor> images;
    for (const std::string& path : item.paths) {
      images.push_back(io::read_image(
          path, experiment.data.channels == 3 ? io::Channels::rgb : io::Channels::as_stored));
      if (images.back().sizes() != images.front().sizes()) {
        throw DataError(path + ": is " + std::to_string(images.back().size(0)) + " x " +
                        std::to_string(images.back().size(1)) + ", the first date is " +
                        std::to_string(images.front().size(0)) + " x " +
                        std::to_string(images.front().size(1)));
      }
      batch.images.push_back(images.back().permute({2, 0, 1}).unsqueeze(0));
    }
    meta.name = item.name;
    meta.paths = item.paths;
    meta.height = meta.original_height = images.front().size(0);
    meta.width = meta.original_width = images.front().size(1);
    batch.meta.push_back(meta);
    const Batch moved = inference::to_device(batch, engine::device_of(experiment),
                                             engine::wants_channels_last(experiment));
    writer.write(item, images, inference::restore(model->predict(moved), batch, 0));
  }
  engine::write_report((fs::path(arguments.out) / "..").lexically_normal().string());
  std::printf("%zu predictions in %s\n", items.size(), arguments.out.c_str());
}

}  // namespace

int run_predict(int argc, char** argv) {
  CLI::App app("Predicts images, pairs or folders: label PNG and overlay of each.", "predict");
  PredictArguments arguments;
  add_config(app, arguments.config);
  add_device(app, arguments.config);
  app.add_option("weights", arguments.weights,
                 "safetensors file or checkpoint folder; default: the run's best");
  app.add_option("--in", arguments.in, "image or folder, one a date")->required()->expected(1, 8);
  app.add_option("--out", arguments.out, "folder for the results")->required();
  app.add_flag("--probabilities", arguments.probabilities,
               "also write class probabilities [C, H, W] as safetensors");
  return run_tool(app, argc, argv, [&] {
    predict_with(arguments);
    return kOk;
  });
}

}  // namespace strata::tools
