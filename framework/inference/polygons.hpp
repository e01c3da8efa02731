// Label maps as polygons.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
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

/// GeoJSON, a feature a polygon with `class`, `label` and `area` (pixels). Coordinates are pixels,
/// or those of `place`'s reference system when it has one.
STRATA_API std::string to_geojson(const std::vector<Polygon>& polygons, const LabelSpec& label,
                                  const io::GeoReference& place = {});

}  // namespace strata::inference
