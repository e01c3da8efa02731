#include "framework/inference/polygons.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "framework/io/image.hpp"

namespace strata::inference {
namespace {

using Contour = std::vector<cv::Point>;

// OpenCV's contours run through the centres of the outermost pixels. On a map of twice the size,
// pixel x covers 2x and 2x + 1, so that the contour of an area from a to b runs from 2a to 2b + 1,
// which (v + 1) / 2 maps to the outer edges a and b + 1. The contour of a hole from a to b runs
// through the pixels around it, 2a - 1 and 2b + 2, and lands on the same edges.
Ring along_edges(const Contour& contour, const cv::Point& offset) {
  Ring ring;
  for (const cv::Point& point : contour) {
    const Point corner{static_cast<double>((point.x + 1) / 2 + offset.x),
                       static_cast<double>((point.y + 1) / 2 + offset.y)};
    if (ring.empty() || ring.back() != corner) ring.push_back(corner);
  }
  if (ring.size() > 1 && ring.front() == ring.back()) ring.pop_back();
  return ring;
}

double cross(const Point& a, const Point& b, const Point& c) {
  return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]);
}

Ring corners_only(const Ring& ring) {
  Ring corners;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Point& before = ring[(i + ring.size() - 1) % ring.size()];
    const Point& after = ring[(i + 1) % ring.size()];
    if (cross(before, ring[i], after) != 0) corners.push_back(ring[i]);
  }
  return corners;
}

Ring simplified(const Ring& ring, double tolerance) {
  if (tolerance <= 0) return ring;
  std::vector<cv::Point2f> points, kept;
  for (const Point& point : ring) {
    points.emplace_back(static_cast<float>(point[0]), static_cast<float>(point[1]));
  }
  cv::approxPolyDP(points, kept, tolerance, /*closed=*/true);
  if (kept.size() < 3) return ring;
  Ring simple;
  for (const cv::Point2f& point : kept) simple.push_back({point.x, point.y});
  return simple;
}

// Positive when the ring runs clockwise on the screen, where y points down.
double signed_area(const Ring& ring) {
  double twice = 0;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Point &a = ring[i], &b = ring[(i + 1) % ring.size()];
    twice += a[0] * b[1] - b[0] * a[1];
  }
  return twice / 2;
}

struct Outlines {
  Ring outline;
  std::vector<Ring> holes;
};

// One connected area, given as a mask with a border of one empty pixel.
Outlines trace(const cv::Mat& mask, const cv::Point& offset) {
  cv::Mat doubled;
  cv::resize(mask, doubled, {}, 2, 2, cv::INTER_NEAREST);
  std::vector<Contour> contours;
  std::vector<cv::Vec4i> hierarchy;
  cv::findContours(doubled, contours, hierarchy, cv::RETR_CCOMP, cv::CHAIN_APPROX_NONE);
  Outlines outlines;
  for (std::size_t i = 0; i < contours.size(); ++i) {
    Ring ring = corners_only(along_edges(contours[i], offset));
    if (hierarchy[i][3] < 0) {
      outlines.outline = std::move(ring);
    } else {
      outlines.holes.push_back(std::move(ring));
    }
  }
  return outlines;
}

nlohmann::ordered_json coordinates(const Ring& ring, const io::GeoReference& place, bool outline) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  Ring points;
  for (const Point& point : ring) points.push_back(place.world(point[0], point[1]));
  // RFC 7946: outlines counter-clockwise where y points up, holes clockwise.
  const bool rising = signed_area(points) > 0;
  const bool y_points_up = place.known();
  const bool wanted = y_points_up ? outline : !outline;
  if (rising != wanted) std::reverse(points.begin(), points.end());
  points.push_back(points.front());
  for (const Point& point : points) list.push_back({point[0], point[1]});
  return list;
}

}  // namespace

std::vector<Polygon> polygons_of(const at::Tensor& classes, const LabelSpec& label,
                                 const PolygonOptions& options) {
  io::quiet_opencv();
  const at::Tensor pixels = classes.contiguous();
  const cv::Mat map(static_cast<int>(pixels.size(0)), static_cast<int>(pixels.size(1)), CV_8U,
                    const_cast<std::uint8_t*>(pixels.const_data_ptr<std::uint8_t>()));
  std::vector<Polygon> polygons;
  for (std::int64_t c = options.background ? 0 : 1; c < label.num_classes(); ++c) {
    if (c == label.ignore_index) continue;
    cv::Mat mask = map == static_cast<double>(c), areas, boxes, centres;
    const int count = cv::connectedComponentsWithStats(mask, areas, boxes, centres, 4, CV_32S);
    for (int area = 1; area < count; ++area) {
      const int* box = boxes.ptr<int>(area);
      if (box[cv::CC_STAT_AREA] < options.min_area) continue;
      const cv::Rect rect(box[cv::CC_STAT_LEFT], box[cv::CC_STAT_TOP], box[cv::CC_STAT_WIDTH],
                          box[cv::CC_STAT_HEIGHT]);
      cv::Mat own;
      cv::copyMakeBorder(areas(rect) == area, own, 1, 1, 1, 1, cv::BORDER_CONSTANT, 0);
      Outlines outlines = trace(own, rect.tl() - cv::Point(1, 1));
      Polygon polygon;
      polygon.label = c;
      polygon.area = box[cv::CC_STAT_AREA];
      polygon.outline = simplified(outlines.outline, options.tolerance);
      for (Ring& hole : outlines.holes) {
        if (std::abs(signed_area(hole)) < options.min_area) continue;
        polygon.holes.push_back(simplified(hole, options.tolerance));
      }
      polygons.push_back(std::move(polygon));
    }
  }
  return polygons;
}

std::string to_geojson(const std::vector<Polygon>& polygons, const LabelSpec& label,
                       const io::GeoReference& place) {
  nlohmann::ordered_json collection = {{"type", "FeatureCollection"}};
  if (!place.name.empty()) {
    collection["crs"] = {{"type", "name"}, {"properties", {{"name", place.name}}}};
  }
  nlohmann::ordered_json features = nlohmann::ordered_json::array();
  for (const Polygon& polygon : polygons) {
    nlohmann::ordered_json rings = nlohmann::ordered_json::array();
    rings.push_back(coordinates(polygon.outline, place, true));
    for (const Ring& hole : polygon.holes) rings.push_back(coordinates(hole, place, false));
    features.push_back({{"type", "Feature"},
                        {"properties",
                         {{"class", label.classes[static_cast<std::size_t>(polygon.label)]},
                          {"label", polygon.label},
                          {"area", polygon.area}}},
                        {"geometry", {{"type", "Polygon"}, {"coordinates", std::move(rings)}}}});
  }
  collection["features"] = std::move(features);
  return collection.dump() + "\n";
}

}  // namespace strata::inference
