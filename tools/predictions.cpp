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

// Rows of a picture that are drawn at once, and what a pixel of an overlay takes meanwhile: images,
// classes and colours as float numbers, some of them twice.
constexpr std::int64_t kMostRows = 256, kFewestRows = 16, kBytesDrawn = 80;

std::int64_t rows_at_once(std::int64_t memory, std::int64_t width) {
  if (memory == 0) return kMostRows;
  return std::clamp(memory / 8 / (kBytesDrawn * width), kFewestRows, kMostRows);
}

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
    : folder_(folder),
      labels_(labels),
      products_(products),
      writer_(std::move(writer)),
      maps_(writer_ ? writer_ : io::png_writer()) {
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

Writer::Picture Predictions::picture_of(const Scene& scene) const {
  Writer::Picture picture;
  picture.height = scene.height;
  picture.width = scene.width;
  picture.place = scene.place;
  return picture;
}

std::unique_ptr<io::RasterSink> Predictions::label_sink(const std::string& base, const Scene& scene,
                                                        const LabelSpec& label) const {
  Writer::Picture picture = picture_of(scene);
  picture.palette = label.palette;
  picture.nodata = static_cast<double>(label.ignore_index);
  return maps_->create(base + maps_->suffix(), picture);
}

std::unique_ptr<io::RasterSink> Predictions::overlay_sink(const std::string& base,
                                                          const Scene& scene) const {
  Writer::Picture picture = picture_of(scene);
  picture.channels = 3;
  picture.rgb = true;
  return maps_->create(base + "_overlay" + maps_->suffix(), picture);
}

std::unique_ptr<io::RasterSink> Predictions::probability_sink(const std::string& base,
                                                              const Scene& scene,
                                                              const LabelSpec& label,
                                                              std::int64_t channels) const {
  Writer::Picture picture = picture_of(scene);
  picture.channels = channels;
  picture.bytes = false;
  picture.channel_names =
      channels == label.num_classes() ? label.classes : std::vector{label.classes.back()};
  picture.nodata = std::numeric_limits<double>::quiet_NaN();
  return writer_->create(base + "_probabilities" + writer_->suffix(), picture);
}

inference::PolygonOptions Predictions::outlines_of(const LabelSpec& label) const {
  inference::PolygonOptions outlines = products_.outlines;
  outlines.background = label.role != "change";  // "unchanged" is what lies between
  return outlines;
}

void Predictions::write(const Scene& scene, const std::vector<at::Tensor>& images,
                        const at::Tensor& missing, const Outputs& outputs) const {
  for (const auto& [name, output] : outputs) {
    const LabelSpec* label = labels_.find(output.target);
    if (label == nullptr || !is_dense(output)) continue;
    const std::string at = base(scene, outputs, output);
    const at::Tensor classes = label_map(output, *label, missing);
    const auto sink = label_sink(at, scene, *label);
    sink->write(classes);
    sink->finish();
    if (products_.overlay) {
      io::write_png(at + "_overlay.png", overlay_of(images, classes, *label, products_.opacity));
    }
    if (products_.probabilities && output.kind != Output::Kind::label) {
      const at::Tensor map = probability_map(output, missing);
      if (writer_) {
        const auto numbers = probability_sink(at, scene, *label, map.size(0));
        numbers->write(map);
        numbers->finish();
      } else {
        io::write_safetensors(at + "_probabilities.safetensors", {{"probabilities", map}});
      }
    }
    if (products_.polygons) {
      const auto polygons = inference::polygons_of(classes, *label, outlines_of(*label));
      write_text(at + ".geojson", inference::to_geojson(polygons, *label, scene.place));
    }
  }
}

void Predictions::Strips::write(std::int64_t top, std::int64_t left, const Outputs& block,
                                const at::Tensor& missing) {
  for (const auto& [name, output] : block) {
    const LabelSpec* label = all_.labels_.find(output.target);
    if (label == nullptr || !is_dense(output)) continue;
    const std::string at = all_.base(scene_, block, output);
    Map& map = maps_[at];
    if (!map.classes) {
      map.label = label;
      map.classes = std::make_unique<io::ScratchMap>(all_.folder_, scene_.height, scene_.width);
    }
    map.classes->write(top, left, label_map(output, *label, missing));
    if (!all_.products_.probabilities || output.kind == Output::Kind::label) continue;
    const at::Tensor values = probability_map(output, missing);
    if (!map.probabilities) {
      if (!all_.writer_) {
        throw UserError(scene_.name +
                        ": too large for probabilities as safetensors; set data.writer to one that "
                        "takes them, such as GeoTIFFWriter");
      }
      map.probabilities = all_.probability_sink(at, scene_, *label, values.size(0));
    }
    map.probabilities->write(values);
  }
}

void Predictions::Strips::finish(const Rows& images,
                                 const std::vector<inference::Stretch>& stretches) {
  for (auto& [base, map] : maps_) finish(base, map, images, stretches);
}

void Predictions::Strips::finish(const std::string& base, Map& map, const Rows& images,
                                 const std::vector<inference::Stretch>& stretches) const {
  const LabelSpec& label = *map.label;
  const Products& products = all_.products_;
  if (map.probabilities) map.probabilities->finish();
  const auto sink = all_.label_sink(base, scene_, label);
  std::unique_ptr<io::RasterSink> overlay;
  if (products.overlay) overlay = all_.overlay_sink(base, scene_);
  std::unique_ptr<inference::GeoJsonFile> file;
  std::unique_ptr<inference::PolygonStream> polygons;
  if (products.polygons) {
    file = std::make_unique<inference::GeoJsonFile>(base + ".geojson", label, scene_.place);
    polygons = std::make_unique<inference::PolygonStream>(
        label, all_.outlines_of(label),
        [&](const inference::Polygon& polygon) { file->add(polygon); });
  }
  const std::size_t date = inference::date_under(label, stretches.size());
  const std::int64_t at_once = rows_at_once(products.memory, scene_.width);
  for (std::int64_t top = 0; top < scene_.height; top += at_once) {
    const std::int64_t rows = std::min(at_once, scene_.height - top);
    const at::Tensor classes = map.classes->read(top, rows);
    sink->write(classes);
    if (polygons) polygons->add(classes);
    if (!overlay) continue;
    const at::Tensor image = inference::displayable(images(date, top, rows), stretches[date]);
    overlay->write(
        inference::overlay(image, classes, label, products.opacity, label.role == "change")
            .permute({2, 0, 1}));
  }
  sink->finish();
  if (overlay) overlay->finish();
  if (polygons) polygons->finish();
  if (file) file->finish();
}

}  // namespace strata::tools
