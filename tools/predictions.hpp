// What predict leaves of a picture: label map, overlay, probabilities, polygons.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/inference/pictures.hpp"
#include "framework/inference/polygons.hpp"
#include "framework/io/raster.hpp"
#include "framework/io/scratch.hpp"
#include "framework/model/batch.hpp"

namespace strata::tools {

struct Products {
  bool overlay = true, probabilities = false, polygons = false;
  double opacity = 0.5;
  inference::PolygonOptions outlines;
  std::int64_t memory = 0;  // bytes that a picture in strips may take, 0: no limit
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

  /// The same of a picture that is never in memory as a whole: label maps wait in a scratch file.
  /// Overlays show the classes over the image that they describe, alone.
  class Strips {
   public:
    /// Rows of the picture of one date, [rows, width, C].
    using Rows = std::function<at::Tensor(std::size_t date, std::int64_t top, std::int64_t rows)>;
    Strips(const Predictions& all, Scene scene) : all_(all), scene_(std::move(scene)) {}
    /// A block of results. Throws UserError for probabilities that no writer takes.
    void write(std::int64_t top, std::int64_t left, const Outputs& block,
               const at::Tensor& missing);
    /// Makes what was asked for of the label maps. `stretches`: of each date.
    void finish(const Rows& images, const std::vector<inference::Stretch>& stretches);

   private:
    struct Map {
      const LabelSpec* label = nullptr;
      std::unique_ptr<io::ScratchMap> classes{};
      std::unique_ptr<io::RasterSink> probabilities{};
    };
    void finish(const std::string& base, Map& map, const Rows& images,
                const std::vector<inference::Stretch>& stretches) const;

    const Predictions& all_;
    Scene scene_;
    std::map<std::string, Map> maps_;  // by the file name that results begin with
  };

 private:
  std::string base(const Scene& scene, const Outputs& outputs, const Output& output) const;
  Writer::Picture picture_of(const Scene& scene) const;
  std::unique_ptr<io::RasterSink> label_sink(const std::string& base, const Scene& scene,
                                             const LabelSpec& label) const;
  std::unique_ptr<io::RasterSink> overlay_sink(const std::string& base, const Scene& scene) const;
  std::unique_ptr<io::RasterSink> probability_sink(const std::string& base, const Scene& scene,
                                                   const LabelSpec& label,
                                                   std::int64_t channels) const;
  inference::PolygonOptions outlines_of(const LabelSpec& label) const;

  std::string folder_;
  LabelSpecs labels_;
  Products products_;
  std::shared_ptr<const Writer> writer_;  // of the config; may be null
  std::shared_ptr<const Writer> maps_;    // that, or PNG
};

}  // namespace strata::tools
