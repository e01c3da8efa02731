#include "framework/data/scene_painter.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <opencv2/imgproc.hpp>

namespace strata::data::scene {
namespace {

struct Rgb {
  float r = 0, g = 0, b = 0;
};
Rgb operator*(const Rgb& c, float f) { return {c.r * f, c.g * f, c.b * f}; }
Rgb mix(const Rgb& p, const Rgb& q, float t) {
  return {p.r + (q.r - p.r) * t, p.g + (q.g - p.g) * t, p.b + (q.b - p.b) * t};
}

// Colours by season: spring, summer, autumn, winter.
constexpr std::array<Rgb, 4> kGrass{
    {{.40F, .50F, .25F}, {.30F, .41F, .20F}, {.50F, .46F, .27F}, {.45F, .41F, .31F}}};
constexpr std::array<Rgb, 4> kLeaves{
    {{.22F, .37F, .14F}, {.13F, .26F, .10F}, {.40F, .28F, .11F}, {.27F, .23F, .18F}}};
constexpr std::array<Rgb, 5> kCrops{{{.34F, .50F, .18F},
                                     {.72F, .63F, .33F},
                                     {.42F, .31F, .22F},
                                     {.20F, .35F, .15F},
                                     {.60F, .53F, .40F}}};
constexpr std::array<Rgb, 10> kRoofs{{{.66F, .30F, .21F},
                                      {.74F, .42F, .27F},
                                      {.46F, .31F, .24F},
                                      {.36F, .36F, .39F},
                                      {.66F, .66F, .67F},
                                      {.86F, .85F, .82F},
                                      {.74F, .67F, .56F},
                                      {.27F, .43F, .67F},
                                      {.30F, .50F, .43F},
                                      {.80F, .80F, .84F}}};
constexpr std::array<Rgb, 6> kPaint{{{.9F, .9F, .9F},
                                     {.15F, .15F, .17F},
                                     {.65F, .12F, .12F},
                                     {.2F, .3F, .55F},
                                     {.6F, .6F, .62F},
                                     {.85F, .82F, .7F}}};
constexpr Rgb kSoil{.52F, .43F, .33F};
constexpr Rgb kEarthworks{.80F, .68F, .48F};
constexpr Rgb kTrodden{.56F, .53F, .45F};
constexpr Rgb kAsphalt{.40F, .40F, .42F};
constexpr Rgb kPavement{.60F, .59F, .57F};
constexpr Rgb kDirt{.60F, .52F, .40F};

Rgb of_season(const std::array<Rgb, 4>& colors, double season) {
  const auto index = static_cast<std::size_t>(season) % 4;
  return mix(colors[index], colors[(index + 1) % 4],
             static_cast<float>(season - std::floor(season)));
}

float signed_unit(Philox& random) {
  return static_cast<float>(random.next_u32() >> 8) * 0x1.0p-23F - 1.0F;
}

/// One octave of smooth noise in about [-1, 1], with features of `cell` pixels.
cv::Mat octave(Philox& random, int canvas, int cell) {
  const int knots = canvas / cell + 2;
  cv::Mat grid(knots, knots, CV_32F);
  for (int y = 0; y < knots; ++y) {
    float* row = grid.ptr<float>(y);
    for (int x = 0; x < knots; ++x) {
      row[x] = signed_unit(random);
    }
  }
  if (cell == 1) {
    return grid(cv::Rect(0, 0, canvas, canvas)).clone();
  }
  cv::Mat large;
  cv::resize(grid, large, {}, cell, cell, cv::INTER_CUBIC);
  return large(cv::Rect(0, 0, canvas, canvas)).clone();
}

cv::Mat noise(Philox& random, int canvas, std::initializer_list<std::pair<int, float>> octaves) {
  cv::Mat sum(canvas, canvas, CV_32F, cv::Scalar(0));
  for (const auto& [cell, height] : octaves) {
    sum += octave(random, canvas, cell) * height;
  }
  return sum;
}

class Painter {
 public:
  Painter(const World& world, int date, const Look& look, Philox& texture)
      : world_(world),
        when_(static_cast<std::size_t>(date)),
        look_(look),
        picture_(world.canvas, world.canvas, CV_32FC3),
        broad_(noise(texture, world.canvas, {{64, 0.5F}, {24, 0.35F}, {10, 0.25F}})),
        grain_(noise(texture, world.canvas, {{5, 0.45F}, {2, 0.45F}, {1, 0.35F}})),
        light_(world.canvas, world.canvas, CV_32F, cv::Scalar(1)) {}

  cv::Mat paint() {
    for (int y = 0; y < world_.canvas; ++y) {  // what no parcel covers
      for (int x = 0; x < world_.canvas; ++x) {
        const Rgb color = ground(x, y, false);
        picture_.at<cv::Vec3f>(y, x) = {color.r, color.g, color.b};
      }
    }
    paint_parcels();
    paint_waters();
    paint_sites();
    paint_roads();
    for (const Vehicle& vehicle : world_.vehicles[when_]) {
      const Rgb color = kPaint[static_cast<std::size_t>(vehicle.color)];
      fill(vehicle.box.corners(), [&](int x, int y) {
        const Point p = vehicle.box.local(x + .5, y + .5);
        return color * (std::abs(p.x) < vehicle.box.half_u * 0.35 ? 0.75F : 1.0F);
      });
    }
    cast_shadows();
    for (const Building& building : world_.buildings) {
      paint_building(building);
    }
    for (const Tree& tree : world_.trees) {
      if (tree.present[when_]) {
        paint_tree(tree);
      }
    }
    return picture_;
  }

 private:
  float broad(int x, int y) const { return broad_.at<float>(y, x); }
  float grain(int x, int y) const { return grain_.at<float>(y, x); }

  template <class F>
  void fill(const Polygon& polygon, F&& color) {
    for_each_pixel(polygon, world_.canvas,
                   [&](int x, int y, float share) { blend(x, y, color(x, y), share); });
  }
  void blend(int x, int y, const Rgb& color, float share) {
    auto& pixel = picture_.at<cv::Vec3f>(y, x);
    pixel[0] += (color.r - pixel[0]) * share;
    pixel[1] += (color.g - pixel[1]) * share;
    pixel[2] += (color.b - pixel[2]) * share;
  }

  Rgb ground(int x, int y, bool town) const {
    const Rgb grass = of_season(kGrass, look_.season);
    const float patch = broad(x, y) + 0.35F * grain(x, y);
    const Rgb bare = town ? kTrodden : kSoil;
    const float bareness = std::clamp((town ? 0.45F : 0.12F) + 0.75F * patch, 0.0F, 1.0F);
    return mix(grass, bare, bareness) * (1 + 0.10F * grain(x, y) + 0.10F * broad(x, y));
  }

  void paint_parcels() {
    for (const Area& parcel : world_.parcels) {
      if (parcel.cover[when_] != SceneClass::field) {
        if (parcel.cover[1 - when_] == SceneClass::field) {  // a field before or after earthworks
          fill(parcel.outline, [&](int x, int y) {
            const float heap = std::clamp(0.5F + 1.1F * broad(x, y), 0.0F, 1.0F);
            return mix(kEarthworks, kSoil, heap) * (1 + 0.2F * grain(x, y));
          });
          continue;
        }
        fill(parcel.outline, [&](int x, int y) { return ground(x, y, parcel.town); });
        continue;
      }
      const Rgb crop = kCrops[static_cast<std::size_t>(parcel.crop[when_])];
      const Rgb furrow = mix(crop, kSoil, 0.45F) * 0.82F;
      const double nx = -std::sin(parcel.row_angle) * 2 * kPi / parcel.row_period;
      const double ny = std::cos(parcel.row_angle) * 2 * kPi / parcel.row_period;
      fill(parcel.outline, [&](int x, int y) {
        const auto wave = static_cast<float>(std::sin(nx * x + ny * y));
        const float row = std::clamp(0.5F + 0.75F * wave + 0.2F * grain(x, y), 0.0F, 1.0F);
        return mix(crop, furrow, row) * (1 + 0.06F * grain(x, y) + 0.09F * broad(x, y));
      });
    }
  }

  void paint_waters() {
    for (const Area& water : world_.waters) {
      if (water.cover[when_] != SceneClass::water) {
        fill(water.outline, [&](int x, int y) { return mix(ground(x, y, false), kSoil, 0.35F); });
        continue;
      }
      const Rgb color = mix({.10F, .21F, .27F}, {.17F, .30F, .27F},
                            0.5F + 0.5F * static_cast<float>(std::sin(look_.season * 1.9)));
      fill(water.outline,
           [&](int x, int y) { return color * (1 + 0.03F * grain(x, y) + 0.10F * broad(x, y)); });
      Polygon rim = water.outline;  // a darker shore
      rim.push_back(rim.front());
      fill(strip(rim, 1.6),
           [&](int x, int y) { return mix(color, kSoil, 0.45F) * (0.8F + 0.1F * grain(x, y)); });
    }
  }

  /// Bare soil where a building stood or is about to stand.
  void paint_sites() {
    for (const Building& building : world_.buildings) {
      for (const BuildingPart& part : building.parts) {
        if (building.bare_site && !part.present[when_]) {
          const Box site = part.box.grown(1.5);
          for_each_pixel(site.corners(), world_.canvas, [&](int x, int y, float share) {
            const float dig =
                std::clamp(0.75F + 0.7F * broad(x, y) + 0.25F * grain(x, y), 0.0F, 1.0F);
            blend(x, y, kSoil * (1 + 0.14F * grain(x, y)), share * dig);
          });
        }
      }
    }
  }

  void paint_roads() {
    for (const Road& road : world_.roads) {
      if (road.paved) {
        fill(strip(road.center, road.width + 3),
             [&](int x, int y) { return kPavement * (1 + 0.06F * grain(x, y)); });
      }
    }
    for (const Road& road : world_.roads) {
      const Rgb color = road.paved ? kAsphalt : kDirt;
      const float rough = road.paved ? 0.04F : 0.12F;
      fill(strip(road.center, road.width),
           [&](int x, int y) { return color * (1 + rough * grain(x, y) + 0.08F * broad(x, y)); });
      if (!road.marked) {
        continue;
      }
      for (std::size_t i = 1; i < road.center.size(); ++i) {  // a dash in each segment
        const Point& p = road.center[i - 1];
        const Point& q = road.center[i];
        const Point end{p.x + (q.x - p.x) * 0.5, p.y + (q.y - p.y) * 0.5};
        fill(strip({p, end}, 1.0), [&](int, int) { return Rgb{.82F, .82F, .78F}; });
      }
    }
  }

  // ---- sun
  /// The convex hull of a shape and the same shape moved along the sun's rays (Andrew's monotone
  /// chain).
  Polygon swept(const Polygon& shape, double height) const {
    const double dx = std::cos(look_.sun_azimuth) * look_.shadow_length * height;
    const double dy = std::sin(look_.sun_azimuth) * look_.shadow_length * height;
    Polygon points = shape;
    for (const Point& p : shape) {
      points.push_back({p.x + dx, p.y + dy});
    }
    std::sort(points.begin(), points.end(), [](const Point& p, const Point& q) {
      return p.x < q.x || (p.x == q.x && p.y < q.y);
    });
    Polygon hull(2 * points.size());
    std::size_t count = 0;
    const auto extend = [&](const Point& p, std::size_t floor) {
      while (count >= floor + 2 &&
             (hull[count - 1].x - hull[count - 2].x) * (p.y - hull[count - 2].y) -
                     (hull[count - 1].y - hull[count - 2].y) * (p.x - hull[count - 2].x) <=
                 0) {
        --count;
      }
      hull[count++] = p;
    };
    for (const Point& p : points) {
      extend(p, 0);
    }
    const std::size_t floor = count - 1;
    for (auto p = points.rbegin() + 1; p != points.rend(); ++p) {
      extend(*p, floor);
    }
    hull.resize(count - 1);
    return hull;
  }

  void cast_shadows() {
    const auto shade = [&](const Polygon& shape, double height) {
      for_each_pixel(swept(shape, height), world_.canvas, [&](int x, int y, float share) {
        float& light = light_.at<float>(y, x);
        light = std::min(light, 1 - share * static_cast<float>(1 - look_.shade));
      });
    };
    for (const Building& building : world_.buildings) {
      for (const BuildingPart& part : building.parts) {
        if (part.present[when_]) {
          shade(part.box.corners(), building.height);
        }
      }
    }
    for (const Tree& tree : world_.trees) {
      if (tree.present[when_]) {
        Polygon crown;
        for (int i = 0; i < 10; ++i) {
          crown.push_back({tree.center.x + tree.radius * 0.9 * std::cos(2 * kPi * i / 10),
                           tree.center.y + tree.radius * 0.9 * std::sin(2 * kPi * i / 10)});
        }
        shade(crown, tree.radius * 1.1);
      }
    }
    for (int y = 0; y < world_.canvas; ++y) {
      auto* row = picture_.ptr<cv::Vec3f>(y);
      const float* light = light_.ptr<float>(y);
      for (int x = 0; x < world_.canvas; ++x) {
        row[x][0] *= light[x];
        row[x][1] *= 0.03F + 0.97F * light[x];
        row[x][2] *= 0.10F + 0.90F * light[x];  // a shadow sees the blue sky
      }
    }
  }

  /// Brightness of a roof face whose outward normal points to `angle`, tilted by about 30 degrees.
  float face(double angle) const {
    return static_cast<float>(0.86 - 0.30 * std::cos(angle - look_.sun_azimuth));
  }

  void paint_building(const Building& building) {
    for (const BuildingPart& part : building.parts) {
      if (part.present[when_]) {
        paint_roof(building, part.box);
      }
    }
  }

  void paint_roof(const Building& building, const Box& box) {
    const bool along_u = box.half_u >= box.half_v;  // the ridge follows the longer side
    const double length = along_u ? box.half_u : box.half_v;
    const double width = along_u ? box.half_v : box.half_u;
    const double ridge = box.angle + (along_u ? 0 : kPi / 2);
    const std::array<float, 4> faces{face(ridge + kPi / 2), face(ridge - kPi / 2), face(ridge),
                                     face(ridge + kPi)};
    const Rgb color = kRoofs[static_cast<std::size_t>(building.color)];
    const bool flat = building.roof == Roof::flat;
    fill(box.corners(), [&](int x, int y) {
      Point p = box.local(x + .5, y + .5);
      if (!along_u) {
        p = {p.y, -p.x};
      }
      const double edge = std::min(length - std::abs(p.x), width - std::abs(p.y));
      float light = 0.96F;
      if (flat) {
        light = edge < 1.5 ? 1.16F : (edge < 2.6 ? 0.80F : 0.96F + 0.05F * broad(x, y));
      } else if (building.roof == Roof::sheds) {
        light = faces[p.y > 0 ? 0 : 1] * (0.97F + 0.07F * static_cast<float>(std::sin(p.x * 1.6)));
        if (std::abs(std::remainder(p.x, 13.0)) < 1.3 && std::abs(p.y) > width * 0.25 &&
            std::abs(p.y) < width * 0.75) {
          light *= 1.25F;  // skylights
        }
      } else {
        const bool hipped =
            building.roof == Roof::hip && length - std::abs(p.x) < width - std::abs(p.y);
        light = hipped ? faces[p.x > 0 ? 2 : 3] : faces[p.y > 0 ? 0 : 1];
        light *= 0.98F + 0.05F * static_cast<float>(std::sin(p.y * 2.4));  // tiles
        if (std::abs(p.y) < 0.7 && !hipped) {
          light *= 1.12F;
        }
      }
      if (edge < 0.9 && !flat) {
        light *= 0.82F;  // eaves
      }
      return color * (light * (1 + 0.035F * grain(x, y)));
    });
    if (flat || building.roof == Roof::gable) {
      furnish(building, box, flat);
    }
  }

  /// Chimneys on ridges, plant rooms and vents on flat roofs, each with its own small shadow.
  void furnish(const Building& building, const Box& box, bool flat) {
    Philox random(building.detail, static_cast<std::uint64_t>(box.half_u * 64));
    const auto count = flat ? random.integer(1, 4) : random.integer(0, 1);
    for (std::int64_t i = 0; i < count; ++i) {
      const double half = flat ? random.uniform(1.4, 3.0) : 1.1;
      const Point at = box.world(random.uniform(-0.6, 0.6) * box.half_u,
                                 random.uniform(-0.55, 0.55) * box.half_v);
      const Box unit{at, half, half * random.uniform(0.7, 1.0), box.angle};
      for_each_pixel(swept(unit.corners(), 2.5), world_.canvas, [&](int x, int y, float share) {
        blend(x, y, {.13F, .13F, .16F}, 0.6F * share);
      });
      fill(unit.corners(), [&](int, int) {
        return flat ? Rgb{.78F, .78F, .78F} : Rgb{.45F, .27F, .22F};
      });
    }
  }

  void paint_tree(const Tree& tree) {
    Rgb leaves = of_season(kLeaves, look_.season);
    const auto tint = static_cast<float>(tree.tint);
    leaves = {leaves.r * (1 + 0.16F * tint), leaves.g * (1 + 0.08F * tint),
              leaves.b * (1 - 0.10F * tint)};
    const int reach = static_cast<int>(std::ceil(tree.radius * 1.25));
    const auto cx = static_cast<int>(tree.center.x);
    const auto cy = static_cast<int>(tree.center.y);
    const double sun_x = -std::cos(look_.sun_azimuth);
    const double sun_y = -std::sin(look_.sun_azimuth);
    for (int y = std::max(0, cy - reach); y <= std::min(world_.canvas - 1, cy + reach); ++y) {
      for (int x = std::max(0, cx - reach); x <= std::min(world_.canvas - 1, cx + reach); ++x) {
        const double dx = x + .5 - tree.center.x;
        const double dy = y + .5 - tree.center.y;
        const double distance = std::hypot(dx, dy);
        const double radius = crown_radius(tree, std::atan2(dy, dx));
        const auto share = static_cast<float>(std::clamp(radius - distance + 0.5, 0.0, 1.0));
        if (share > 0) {
          const double facing = (dx * sun_x + dy * sun_y) / tree.radius;
          const auto light = static_cast<float>(0.98 + 0.42 * facing) + 0.34F * grain(x, y);
          blend(x, y, leaves * std::max(0.25F, light), share);
        }
      }
    }
  }

  const World& world_;
  std::size_t when_;
  const Look& look_;
  cv::Mat picture_, broad_, grain_, light_;
};

}  // namespace

std::vector<float> paint_canvas(const World& world, int date, const Look& look, Philox texture) {
  const cv::Mat canvas = Painter(world, date, look, texture).paint();
  const auto* first = canvas.ptr<float>();
  return {first, first + canvas.total() * 3};
}

}  // namespace strata::data::scene
