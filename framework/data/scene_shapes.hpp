#pragma once
// Shapes of a drawn scene and the pixels they cover. Internal to framework/data/scenes.hpp. Lengths
// are pixels; pixel (x, y) is the square [x, x+1) x [y, y+1).
#include <cstddef>
#include <numbers>
#include <vector>

namespace strata::data::scene {

inline constexpr double kPi = std::numbers::pi;

struct Point {
  double x = 0;
  double y = 0;
};
using Polygon = std::vector<Point>;

/// Share of each pixel's area inside a polygon (even-odd rule), over the part of its bounding box
/// on the canvas. Pixel (x, y) is the square [x, x+1) x [y, y+1).
struct Coverage {
  int x0 = 0, y0 = 0, width = 0, height = 0;
  std::vector<float> share;  // height x width, 0 to 1

  [[nodiscard]] float at(int x, int y) const {
    return share[static_cast<std::size_t>(y - y0) * static_cast<std::size_t>(width) +
                 static_cast<std::size_t>(x - x0)];
  }
};
Coverage rasterize(const Polygon& polygon, int canvas);

/// The polygon that a line of the given width covers.
Polygon strip(const std::vector<Point>& center, double width);

/// Calls f(x, y, share) for every pixel that the polygon touches.
template <class F>
void for_each_pixel(const Polygon& polygon, int canvas, F&& f) {
  const Coverage coverage = rasterize(polygon, canvas);
  for (int y = coverage.y0; y < coverage.y0 + coverage.height; ++y) {
    for (int x = coverage.x0; x < coverage.x0 + coverage.width; ++x) {
      if (const float share = coverage.at(x, y); share > 0) {
        f(x, y, share);
      }
    }
  }
}

/// A rectangle with its own axes: u along `angle`, v across.
struct Box {
  Point center;
  double half_u = 0, half_v = 0, angle = 0;

  [[nodiscard]] Polygon corners() const;
  [[nodiscard]] Box grown(double by) const { return {center, half_u + by, half_v + by, angle}; }
  [[nodiscard]] Point local(double x, double y) const;  // canvas -> (u, v)
  [[nodiscard]] Point world(double u, double v) const;  // (u, v) -> canvas
};

}  // namespace strata::data::scene
