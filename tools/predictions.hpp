// What predict leaves of a picture: label map, overlay, probabilities, polygons.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/inference/polygons.hpp"
#include "framework/io/raster.hpp"
#include "framework/model/batch.hpp"

namespace strata::tools {

struct Products {
  bool overlay = true, probabilities = false, polygons = false;
  double opacity = 0.5;
  inference::PolygonOptions outlines;
};

/// One picture, or one pair, as it was read.
struct Scene {
  std::string name;
  std::int64_t height = 0, width = 0;
  io::GeoReference place;
};

class Predictions {
 public:
  /// `writer` null: PNG, and safetensors for probabilities.
  Predictions(const std::string& folder, const LabelSpecs& labels, const Products& products,
              std::shared_ptr<const Writer> writer);

  /// Results of a whole picture, batch of 1. `images`: [H, W, C], one a date; `missing` [H, W] bool
  /// (undefined: nowhere) becomes ignore_index.
  void write(const Scene& scene, const std::vector<at::Tensor>& images, const at::Tensor& missing,
             const Outputs& outputs) const;

  /// Label maps, and probabilities if wanted, row by row.
  class Strips {
   public:
    Strips(const Predictions& all, Scene scene) : all_(all), scene_(std::move(scene)) {}
    void write(const Outputs& rows, const at::Tensor& missing);
    void finish();

   private:
    const Predictions& all_;
    Scene scene_;
    std::map<std::string, std::unique_ptr<io::RasterSink>> labels_, probabilities_;
  };

 private:
  std::string base(const Scene& scene, const Outputs& outputs, const Output& output) const;
  std::unique_ptr<io::RasterSink> label_sink(const std::string& base, const Scene& scene,
                                             const LabelSpec& label) const;
  std::unique_ptr<io::RasterSink> probability_sink(const std::string& base, const Scene& scene,
                                                   const LabelSpec& label,
                                                   std::int64_t channels) const;

  std::string folder_;
  LabelSpecs labels_;
  Products products_;
  std::shared_ptr<const Writer> writer_;
};

}  // namespace strata::tools
