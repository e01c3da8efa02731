#include "framework/inference/polygons.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "framework/base/error.hpp"
#include "framework/inference/rings.hpp"
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

/// An exact polygon as the options want it.
Polygon finished(Polygon polygon, const PolygonOptions& options) {
  polygon.outline = simplified(polygon.outline, options.tolerance);
  std::vector<Ring> holes;
  for (Ring& hole : polygon.holes) {
    if (std::abs(signed_area(hole)) < options.min_area) continue;
    holes.push_back(simplified(hole, options.tolerance));
  }
  polygon.holes = std::move(holes);
  return polygon;
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
  std::array<bool, 256> there{};
  const std::uint8_t* values = map.ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < pixels.numel(); ++i) there[values[i]] = true;
  std::vector<Polygon> polygons;
  for (std::int64_t c = options.background ? 0 : 1; c < label.num_classes(); ++c) {
    if (c == label.ignore_index || !there[static_cast<std::size_t>(c)]) continue;
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
      polygons.push_back(finished({c, std::move(outlines.outline), std::move(outlines.holes),
                                   static_cast<double>(box[cv::CC_STAT_AREA])},
                                  options));
    }
  }
  return polygons;
}

namespace {

/// Which of several areas are one.
class Union {
 public:
  explicit Union(std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) parents_.push_back(i);
  }
  std::size_t root(std::size_t i) {
    while (parents_[i] != i) i = parents_[i] = parents_[parents_[i]];
    return i;
  }
  void join(std::size_t a, std::size_t b) {
    a = root(a), b = root(b);
    parents_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<std::size_t> parents_;
};

/// The stretches of a ring along the line of pixel edges at `y`.
template <class Found>
void along_line(const Ring& ring, std::int64_t y, const Found& found) {
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const Point &a = ring[i], &b = ring[(i + 1) % ring.size()];
    if (a[1] != b[1] || a[1] != static_cast<double>(y)) continue;
    found(static_cast<std::int64_t>(std::min(a[0], b[0])),
          static_cast<std::int64_t>(std::max(a[0], b[0])));
  }
}

}  // namespace

void PolygonStream::add(const at::Tensor& rows) {
  const std::int64_t top = next_, bottom = top + rows.size(0);
  next_ = bottom;
  PolygonOptions exact;
  exact.background = options_.background;
  // Areas that were open, then those of these rows.
  std::vector<Area> areas = std::move(open_);
  std::vector<Run> above = std::move(runs_), below, edge;
  open_.clear();
  for (Polygon& polygon : polygons_of(rows, label_, exact)) {
    Area area{polygon.label, polygon.area, {}, {}};
    area.rings.push_back(std::move(polygon.outline));
    for (Ring& hole : polygon.holes) area.rings.push_back(std::move(hole));
    for (Ring& ring : area.rings) {
      const bool outline = &ring == &area.rings.front();
      if ((signed_area(ring) > 0) != outline) std::reverse(ring.begin(), ring.end());
      for (Point& point : ring) point[1] += static_cast<double>(top);
    }
    const std::size_t own = areas.size();
    const Ring& outline = area.rings.front();  // a hole that reaches an edge of the rows is none
    along_line(outline, top, [&](auto left, auto right) { edge.push_back({left, right, own}); });
    along_line(outline, bottom, [&](auto left, auto right) {
      below.push_back({left, right, own});
    });
    areas.push_back(std::move(area));
  }
  const auto by_place = [](const Run& a, const Run& b) { return a.left < b.left; };
  std::sort(edge.begin(), edge.end(), by_place);
  Union same(areas.size());
  for (std::size_t i = 0, k = 0; i < above.size() && k < edge.size();) {
    const Run &up = above[i], &down = edge[k];
    const bool meet = up.left < down.right && down.left < up.right;
    if (meet && areas[up.area].label == areas[down.area].label) {
      same.join(up.area, down.area);
      areas[down.area].seams.push_back(top);
    }
    (up.right < down.right ? i : k) += 1;
  }
  std::vector<bool> goes_on(areas.size());
  for (const Run& run : below) goes_on[same.root(run.area)] = true;
  for (std::size_t i = 0; i < areas.size(); ++i) {
    const std::size_t root = same.root(i);
    if (root == i) continue;
    Area &whole = areas[root], &part = areas[i];
    whole.pixels += part.pixels;
    std::move(part.rings.begin(), part.rings.end(), std::back_inserter(whole.rings));
    whole.seams.insert(whole.seams.end(), part.seams.begin(), part.seams.end());
    part.rings.clear();
  }
  std::vector<std::size_t> places(areas.size());
  for (std::size_t i = 0; i < areas.size(); ++i) {
    if (same.root(i) != i) continue;
    if (goes_on[i]) {
      places[i] = open_.size();
      open_.push_back(std::move(areas[i]));
    } else {
      hand_on(std::move(areas[i]));
    }
  }
  for (Run& run : below) run.area = places[same.root(run.area)];
  std::sort(below.begin(), below.end(), by_place);
  runs_ = std::move(below);
}

void PolygonStream::hand_on(Area area) {
  if (area.pixels < options_.min_area) return;
  if (!area.seams.empty()) area.rings = without_seams(area.rings, std::move(area.seams));
  Polygon polygon;
  polygon.label = area.label;
  polygon.area = area.pixels;
  for (Ring& ring : area.rings) {
    if (signed_area(ring) > 0) {
      polygon.outline = std::move(ring);
    } else {
      polygon.holes.push_back(std::move(ring));
    }
  }
  take_(finished(std::move(polygon), options_));
}

void PolygonStream::finish() {
  std::vector<Area> last = std::move(open_);
  open_.clear();
  runs_.clear();
  for (Area& area : last) hand_on(std::move(area));
}

namespace {

std::string head_of(const io::GeoReference& place) {
  nlohmann::ordered_json collection = {{"type", "FeatureCollection"}};
  if (!place.name.empty()) {
    collection["crs"] = {{"type", "name"}, {"properties", {{"name", place.name}}}};
  }
  std::string text = collection.dump();
  text.pop_back();
  return text + ",\"features\":[";
}
constexpr const char* kTail = "]}\n";

std::string feature_of(const Polygon& polygon, const LabelSpec& label,
                       const io::GeoReference& place) {
  nlohmann::ordered_json rings = nlohmann::ordered_json::array();
  rings.push_back(coordinates(polygon.outline, place, true));
  for (const Ring& hole : polygon.holes) rings.push_back(coordinates(hole, place, false));
  const nlohmann::ordered_json feature = {
      {"type", "Feature"},
      {"properties",
       {{"class", label.classes[static_cast<std::size_t>(polygon.label)]},
        {"label", polygon.label},
        {"area", polygon.area}}},
      {"geometry", {{"type", "Polygon"}, {"coordinates", std::move(rings)}}}};
  return feature.dump();
}

}  // namespace

std::string to_geojson(const std::vector<Polygon>& polygons, const LabelSpec& label,
                       const io::GeoReference& place) {
  std::string text = head_of(place);
  for (const Polygon& polygon : polygons) {
    if (&polygon != &polygons.front()) text += ',';
    text += feature_of(polygon, label, place);
  }
  return text + kTail;
}

GeoJsonFile::GeoJsonFile(const std::string& path, const LabelSpec& label,
                         const io::GeoReference& place)
    : path_(path), partial_(path + ".partial"), label_(label), place_(place) {
  stream_.open(partial_, std::ios::binary);
  stream_ << head_of(place);
  if (!stream_) throw UserError(path_ + ": cannot be written: " + std::strerror(errno));
}

GeoJsonFile::~GeoJsonFile() {
  if (!stream_.is_open()) return;
  stream_.close();
  std::error_code ignored;
  std::filesystem::remove(partial_, ignored);
}

void GeoJsonFile::add(const Polygon& polygon) {
  if (any_) stream_ << ',';
  any_ = true;
  stream_ << feature_of(polygon, label_, place_);
}

void GeoJsonFile::finish() {
  stream_ << kTail << std::flush;
  std::error_code error;
  if (stream_) std::filesystem::rename(partial_, path_, error);
  if (!stream_ || error) {
    throw UserError(path_ +
                    ": cannot be written: " + (error ? error.message() : std::strerror(errno)));
  }
  stream_.close();
}

}  // namespace strata::inference
