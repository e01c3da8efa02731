#include "tools/predictions.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/inference/pictures.hpp"
#include "framework/io/image.hpp"
#include "framework/io/safetensors.hpp"

namespace strata::tools {
namespace {

namespace fs = std::filesystem;

bool is_dense(const Output& output) { return output.kind != Output::Kind::value; }

at::Tensor label_map(const Output& output, const LabelSpec& label, const at::Tensor& missing) {
  at::Tensor map = labels(output)[0].to(at::kByte);
  if (missing.defined()) map = map.masked_fill(missing.to(map.device()), label.ignore_index);
  return map.to(at::kCPU).contiguous();
}

at::Tensor probability_map(const Output& output, const at::Tensor& missing) {
  at::Tensor map = probabilities(output)[0].to(at::kFloat);
  if (missing.defined()) {
    map = map.masked_fill(missing.to(map.device()), std::numeric_limits<float>::quiet_NaN());
  }
  return map.to(at::kCPU).contiguous();
}

// All dates, then the last one (or the one a semantic map describes) with the classes over it.
at::Tensor overlay_of(const std::vector<at::Tensor>& images, const at::Tensor& classes,
                      const LabelSpec& label, double opacity) {
  std::vector<at::Tensor> row;
  for (const at::Tensor& image : images) row.push_back(inference::displayable(image));
  const bool change = label.role == "change";
  const at::Tensor under = row[inference::date_under(label, row.size())];
  row.push_back(inference::overlay(under, classes, label, opacity, change));
  if (change) row.push_back(inference::colourise(classes, label));
  return inference::side_by_side(row);
}

}  // namespace

Predictions::Predictions(const std::string& folder, const LabelSpecs& labels,
                         const Products& products, std::shared_ptr<const Writer> writer)
    : folder_(folder), labels_(labels), products_(products), writer_(std::move(writer)) {
  make_folder(folder);
}

// One target: NAME.png; several: NAME.TARGET.png.
std::string Predictions::base(const Scene& scene, const Outputs& outputs,
                              const Output& output) const {
  const auto dense = std::count_if(outputs.begin(), outputs.end(),
                                   [](const auto& each) { return is_dense(each.second); });
  return (fs::path(folder_) / (dense == 1 ? scene.name : scene.name + "." + output.target))
      .string();
}

std::unique_ptr<io::RasterSink> Predictions::label_sink(const std::string& base, const Scene& scene,
                                                        const LabelSpec& label) const {
  Writer::Picture picture;
  picture.height = scene.height;
  picture.width = scene.width;
  picture.palette = label.palette;
  picture.nodata = static_cast<double>(label.ignore_index);
  picture.place = scene.place;
  return writer_->create(base + writer_->suffix(), picture);
}

std::unique_ptr<io::RasterSink> Predictions::probability_sink(const std::string& base,
                                                              const Scene& scene,
                                                              const LabelSpec& label,
                                                              std::int64_t channels) const {
  Writer::Picture picture;
  picture.height = scene.height;
  picture.width = scene.width;
  picture.channels = channels;
  picture.bytes = false;
  picture.channel_names =
      channels == label.num_classes() ? label.classes : std::vector{label.classes.back()};
  picture.nodata = std::numeric_limits<double>::quiet_NaN();
  picture.place = scene.place;
  return writer_->create(base + "_probabilities" + writer_->suffix(), picture);
}

void Predictions::write(const Scene& scene, const std::vector<at::Tensor>& images,
                        const at::Tensor& missing, const Outputs& outputs) const {
  for (const auto& [name, output] : outputs) {
    const LabelSpec* label = labels_.find(output.target);
    if (label == nullptr || !is_dense(output)) continue;
    const std::string at = base(scene, outputs, output);
    const at::Tensor classes = label_map(output, *label, missing);
    if (writer_) {
      const auto sink = label_sink(at, scene, *label);
      sink->write(classes);
      sink->finish();
    } else {
      io::write_label_png(at + ".png", classes, label->palette);
    }
    if (products_.overlay) {
      io::write_png(at + "_overlay.png", overlay_of(images, classes, *label, products_.opacity));
    }
    if (products_.probabilities && output.kind != Output::Kind::label) {
      const at::Tensor map = probability_map(output, missing);
      if (writer_) {
        const auto sink = probability_sink(at, scene, *label, map.size(0));
        sink->write(map);
        sink->finish();
      } else {
        io::write_safetensors(at + "_probabilities.safetensors", {{"probabilities", map}});
      }
    }
    if (products_.polygons) {
      inference::PolygonOptions outlines = products_.outlines;
      outlines.background = label->role != "change";  // "unchanged" is what lies between
      write_text(at + ".geojson",
                 inference::to_geojson(inference::polygons_of(classes, *label, outlines), *label,
                                       scene.place));
    }
  }
}

void Predictions::Strips::write(const Outputs& rows, const at::Tensor& missing) {
  for (const auto& [name, output] : rows) {
    const LabelSpec* label = all_.labels_.find(output.target);
    if (label == nullptr || !is_dense(output)) continue;
    const std::string at = all_.base(scene_, rows, output);
    auto& sink = labels_[at];
    if (!sink) sink = all_.label_sink(at, scene_, *label);
    sink->write(label_map(output, *label, missing));
    if (!all_.products_.probabilities || output.kind == Output::Kind::label) continue;
    const at::Tensor map = probability_map(output, missing);
    auto& probability = probabilities_[at];
    if (!probability) probability = all_.probability_sink(at, scene_, *label, map.size(0));
    probability->write(map);
  }
}

void Predictions::Strips::finish() {
  for (auto& [name, sink] : labels_) sink->finish();
  for (auto& [name, sink] : probabilities_) sink->finish();
}

}  // namespace strata::tools
