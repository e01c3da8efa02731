#include "framework/data/scene_shapes.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace strata::data::scene {

Polygon Box::corners() const {
  return {world(-half_u, -half_v), world(half_u, -half_v), world(half_u, half_v),
          world(-half_u, half_v)};
}

Point Box::local(double x, double y) const {
  const double dx = x - center.x;
  const double dy = y - center.y;
  return {std::cos(angle) * dx + std::sin(angle) * dy,
          -std::sin(angle) * dx + std::cos(angle) * dy};
}

Point Box::world(double u, double v) const {
  return {center.x + std::cos(angle) * u - std::sin(angle) * v,
          center.y + std::sin(angle) * u + std::cos(angle) * v};
}

Polygon strip(const std::vector<Point>& center, double width) {
  Polygon left;
  Polygon right;
  for (std::size_t i = 0; i < center.size(); ++i) {
    const Point& before = center[i == 0 ? 0 : i - 1];
    const Point& after = center[std::min(i + 1, center.size() - 1)];
    const double length = std::hypot(after.x - before.x, after.y - before.y);
    const double nx = -(after.y - before.y) / length * width / 2;
    const double ny = (after.x - before.x) / length * width / 2;
    left.push_back({center[i].x + nx, center[i].y + ny});
    right.push_back({center[i].x - nx, center[i].y - ny});
  }
  left.insert(left.end(), right.rbegin(), right.rend());
  return left;
}

Coverage rasterize(const Polygon& polygon, int canvas) {
  constexpr int kLines = 4;  // scan lines a pixel; along them the share is exact
  Coverage result;
  if (polygon.size() < 3) {
    return result;
  }
  double x_low = polygon[0].x, x_high = x_low, y_low = polygon[0].y, y_high = y_low;
  for (const Point& p : polygon) {
    x_low = std::min(x_low, p.x), x_high = std::max(x_high, p.x);
    y_low = std::min(y_low, p.y), y_high = std::max(y_high, p.y);
  }
  const double limit = canvas;
  result.x0 = static_cast<int>(std::floor(std::clamp(x_low, 0.0, limit)));
  result.y0 = static_cast<int>(std::floor(std::clamp(y_low, 0.0, limit)));
  result.width = static_cast<int>(std::ceil(std::clamp(x_high, 0.0, limit))) - result.x0;
  result.height = static_cast<int>(std::ceil(std::clamp(y_high, 0.0, limit))) - result.y0;
  if (result.width <= 0 || result.height <= 0) {
    return {};
  }
  result.share.assign(
      static_cast<std::size_t>(result.width) * static_cast<std::size_t>(result.height), 0.0F);
  struct Crossing {
    int line;
    double x;
  };
  std::vector<Crossing> crossings;
  for (std::size_t i = 0; i < polygon.size(); ++i) {
    Point p = polygon[i];
    Point q = polygon[(i + 1) % polygon.size()];
    if (p.y > q.y) {
      std::swap(p, q);
    }
    // Scan line k lies at y0 + (k + 0.5) / kLines; an edge owns its upper end.
    const auto line_from = [&](double y) {
      return static_cast<int>(std::clamp(std::ceil((y - result.y0) * kLines - 0.5), 0.0,
                                         static_cast<double>(result.height) * kLines));
    };
    for (int line = line_from(p.y); line < line_from(q.y); ++line) {
      const double y = result.y0 + (line + 0.5) / kLines;
      crossings.push_back({line, p.x + (y - p.y) / (q.y - p.y) * (q.x - p.x)});
    }
  }
  std::sort(crossings.begin(), crossings.end(), [](const Crossing& p, const Crossing& q) {
    return p.line < q.line || (p.line == q.line && p.x < q.x);
  });
  for (std::size_t i = 0; i + 1 < crossings.size(); i += 2) {  // an even number a line
    float* row = result.share.data() + static_cast<std::size_t>(crossings[i].line / kLines) *
                                           static_cast<std::size_t>(result.width);
    const double limit_x = result.width;
    const double from = std::clamp(crossings[i].x - result.x0, 0.0, limit_x);
    const double to = std::clamp(crossings[i + 1].x - result.x0, 0.0, limit_x);
    for (int x = static_cast<int>(from); x < to; ++x) {
      const double part = std::min(to, x + 1.0) - std::max(from, static_cast<double>(x));
      row[x] += static_cast<float>(part / kLines);
    }
  }
  return result;
}

}  // namespace strata::data::scene
