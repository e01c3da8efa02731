// Label maps as polygons.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/io/raster.hpp"
#include "framework/model/spec.hpp"

namespace strata::inference {

using Point = std::array<double, 2>;  // x to the right, y down, in pixels; (0, 0) is the outer
                                      // corner of the first pixel
/// Closed without repeating its first point.
using Ring = std::vector<Point>;

struct Polygon {
  std::int64_t label = 0;
  Ring outline;
  std::vector<Ring> holes;
  double area = 0;  // in pixels, without the holes
};

struct PolygonOptions {
  double tolerance = 0;     // pixels by which a simplified outline may be off; 0: every corner
  double min_area = 0;      // pixels; smaller polygons and holes are left out
  bool background = false;  // whether class 0 has polygons, too
};

/// The connected areas (by edges, not by corners) of each class of a label map [H, W] uint8, along
/// the edges of its pixels. Ignored pixels belong to none. Ordered by class, then from the top.
STRATA_API std::vector<Polygon> polygons_of(const at::Tensor& classes, const LabelSpec& label,
                                            const PolygonOptions& options = {});

/// The same for a label map that comes in strips of rows, from the top down. A polygon is handed on
/// as soon as its last row is there; what is held are those that reach the newest row.
class STRATA_API PolygonStream {
 public:
  using Take = std::function<void(const Polygon&)>;
  PolygonStream(const LabelSpec& label, const PolygonOptions& options, Take take)
      : label_(label), options_(options), take_(std::move(take)) {}
  /// [H, W] uint8.
  void add(const at::Tensor& rows);
  void finish();

 private:
  /// A stretch of the newest line of pixel edges that an area of a class lies on.
  struct Run {
    std::int64_t left, right;
    std::size_t area;
  };
  /// What is known of an area that may go on below.
  struct Area {
    std::int64_t label = 0;
    double pixels = 0;
    std::vector<Ring> rings;  // with the area to their right; those of strips, one after the other
    std::vector<std::int64_t> seams;  // lines on which strips of it meet
  };
  void hand_on(Area area);

  LabelSpec label_;
  PolygonOptions options_;
  Take take_;
  std::int64_t next_ = 0;  // row
  std::vector<Area> open_;
  std::vector<Run> runs_;  // of open_, from the left
};

/// GeoJSON, a feature a polygon with `class`, `label` and `area` (pixels). Coordinates are pixels,
/// or those of `place`'s reference system when it has one.
STRATA_API std::string to_geojson(const std::vector<Polygon>& polygons, const LabelSpec& label,
                                  const io::GeoReference& place = {});

/// A GeoJSON file to which polygons are added one by one; without finish() there is no file.
class STRATA_API GeoJsonFile {
 public:
  /// Throws UserError "path: cannot be written: …".
  GeoJsonFile(const std::string& path, const LabelSpec& label, const io::GeoReference& place);
  ~GeoJsonFile();
  void add(const Polygon& polygon);
  void finish();

 private:
  std::string path_, partial_;
  LabelSpec label_;
  io::GeoReference place_;
  std::ofstream stream_;
  bool any_ = false;
};

}  // namespace strata::inference
