#include "framework/data/scene_architect.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace strata::data::scene {

Architect::Architect(Philox& random, int size) : random_(random), size_(size) {
  world_.canvas = size + 2 * kMargin;
  taken_.assign(static_cast<std::size_t>(world_.canvas) * static_cast<std::size_t>(world_.canvas),
                0);
  turn_ = random_.uniform(0, kPi / 2);
  for (auto& wave : bend_) {
    wave = {random_.uniform(1.0, 4.5), 2 * kPi / random_.uniform(160, 330),
            random_.uniform(0, 2 * kPi)};
  }
  // How built-up the scene is: a town, a village, open land.
  town_ = random_.uniform(0.35, 1.0);
}

World Architect::build() {
  const double reach = world_.canvas * 0.76 + 20;
  split({-reach, -reach, reach, reach}, 0);
  if (random_.chance(0.22)) {
    add_river();
  }
  for (const Area& water : world_.waters) {
    claim(water.outline);
  }
  for (const Road& road : world_.roads) {
    claim(strip(road.center, road.width + 4));
  }
  for (const Plot& plot : plots_) {
    fill(plot);
  }
  fill_gaps();
  plan_changes();
  for (const Plot& plot : plots_) {
    plant(plot);
  }
  plant_roadsides();
  fell_groves();
  for (auto& vehicles : world_.vehicles) {
    park(vehicles);
  }
  return std::move(world_);
}

// ---- frames and occupancy
Point Architect::place(double u, double v) const {
  const double cu = std::cos(turn_);
  const double su = std::sin(turn_);
  const double bent_u = u + bend_[0].height * std::sin(bend_[0].frequency * v + bend_[0].phase);
  const double bent_v = v + bend_[1].height * std::sin(bend_[1].frequency * u + bend_[1].phase);
  const double middle = world_.canvas / 2.0;
  return {middle + cu * bent_u - su * bent_v, middle + su * bent_u + cu * bent_v};
}

std::vector<Point> Architect::line(double u0, double v0, double u1, double v1) const {
  const int steps = std::max(2, static_cast<int>(std::hypot(u1 - u0, v1 - v0) / 14));
  std::vector<Point> points;
  for (int i = 0; i <= steps; ++i) {
    const double t = static_cast<double>(i) / steps;
    points.push_back(place(u0 + (u1 - u0) * t, v0 + (v1 - v0) * t));
  }
  return points;
}

Polygon Architect::outline(const Rect& r) const {
  Polygon polygon;
  for (auto [u0, v0, u1, v1] : {Rect{r.u0, r.v0, r.u1, r.v0}, Rect{r.u1, r.v0, r.u1, r.v1},
                                Rect{r.u1, r.v1, r.u0, r.v1}, Rect{r.u0, r.v1, r.u0, r.v0}}) {
    const std::vector<Point> side = line(u0, v0, u1, v1);
    polygon.insert(polygon.end(), side.begin(), side.end() - 1);
  }
  return polygon;
}

Polygon Architect::blob(Point center, double radius, double squeeze) {
  std::array<double, 3> height{};
  std::array<double, 3> phase{};
  for (std::size_t k = 0; k < 3; ++k) {
    height[k] = random_.uniform(0.03, 0.16);
    phase[k] = random_.uniform(0, 2 * kPi);
  }
  const double angle = random_.uniform(0, kPi);
  Polygon polygon;
  for (int i = 0; i < 40; ++i) {
    const double t = 2 * kPi * i / 40;
    double r = radius;
    for (std::size_t k = 0; k < 3; ++k) {
      r += radius * height[k] * std::sin(static_cast<double>(k + 2) * t + phase[k]);
    }
    const double x = r * std::cos(t);
    const double y = r * std::sin(t) * squeeze;
    polygon.push_back({center.x + x * std::cos(angle) - y * std::sin(angle),
                       center.y + x * std::sin(angle) + y * std::cos(angle)});
  }
  return polygon;
}

std::uint8_t& Architect::taken(int x, int y) {
  return taken_[static_cast<std::size_t>(y) * static_cast<std::size_t>(world_.canvas) +
                static_cast<std::size_t>(x)];
}

void Architect::claim(const Polygon& polygon) {
  for_each_pixel(polygon, world_.canvas, [&](int x, int y, float) { taken(x, y) = 1; });
}

bool Architect::is_free(const Polygon& polygon) {
  bool free = true;
  for_each_pixel(polygon, world_.canvas,
                 [&](int x, int y, float) { free = free && taken(x, y) == 0; });
  return free;
}

int Architect::visible_pixels(const Polygon& polygon) const {
  int count = 0;
  for_each_pixel(polygon, world_.canvas, [&](int x, int y, float share) {
    count += share >= 0.5F && is_in_view(x, y, world_.canvas) ? 1 : 0;
  });
  return count;
}

Point Architect::somewhere(double inset) {
  const double low = kMargin + inset;
  const double high = world_.canvas - kMargin - inset;
  return {random_.uniform(low, high), random_.uniform(low, high)};
}

bool Architect::contains(const Rect& r, const Point& p) const {
  const double x = p.x - world_.canvas / 2.0;
  const double y = p.y - world_.canvas / 2.0;
  const double u = std::cos(turn_) * x + std::sin(turn_) * y;
  const double v = -std::sin(turn_) * x + std::cos(turn_) * y;
  return u >= r.u0 && u < r.u1 && v >= r.v0 && v < r.v1;
}

// ---- land
void Architect::split(const Rect& r, int depth) {
  const double wide = r.u1 - r.u0;
  const double high = r.v1 - r.v0;
  if (std::max(wide, high) < random_.uniform(105, 175)) {
    add_plot(r);
    return;
  }
  const double at = random_.uniform(0.36, 0.64);
  Rect first = r;
  Rect second = r;
  Road road;
  if (wide > high) {
    first.u1 = second.u0 = r.u0 + wide * at;
    road.center = line(first.u1, r.v0, first.u1, r.v1);
  } else {
    first.v1 = second.v0 = r.v0 + high * at;
    road.center = line(r.u0, first.v1, r.u1, first.v1);
  }
  // Splits from the second on pass near the picture; the first of them is the main road.
  static constexpr std::array<double, 4> kRoadChance{0.95, 0.9, 0.75, 0.55};
  const auto level = static_cast<std::size_t>(std::min(depth, 3));
  if (random_.chance(kRoadChance[level])) {
    road.width = depth == 0 ? random_.uniform(11, 15) : random_.uniform(7, 10);
    road.marked = depth == 0 || random_.chance(0.3);
    road.paved = depth < 2 || random_.chance(0.3 + 0.6 * town_);
    if (!road.paved) {
      road.width = random_.uniform(5, 7);
      road.marked = false;
    }
    world_.roads.push_back(road);
  }
  split(first, depth + 1);
  split(second, depth + 1);
}

void Architect::add_plot(const Rect& r) {
  const double draw = random_.uniform();
  const double built = 0.40 + 0.45 * town_;
  Use use = Use::forest;
  if (draw < built) {
    const double kind = random_.uniform();
    use = kind < 0.55 ? Use::homes : (kind < 0.78 ? Use::blocks : Use::industry);
  } else {
    const double kind = random_.uniform();
    use = kind < 0.5 ? Use::field : (kind < 0.8 ? Use::meadow : Use::forest);
  }
  Area parcel;
  parcel.outline = outline(r);
  parcel.town = use == Use::homes || use == Use::blocks || use == Use::industry;
  if (use == Use::field) {
    parcel.cover = {SceneClass::field, SceneClass::field};
    parcel.row_angle = turn_ + (random_.chance(0.5) ? 0 : kPi / 2);
    parcel.row_period = random_.uniform(3.6, 7.0);
    for (int& crop : parcel.crop) {
      crop = static_cast<int>(random_.integer(0, 4));
    }
  }
  plots_.push_back({r, use, world_.parcels.size()});
  world_.parcels.push_back(std::move(parcel));
  if (use == Use::meadow && random_.chance(0.55)) {
    const double radius = random_.uniform(13, 27);
    Area pond;
    pond.outline = blob(place((r.u0 + r.u1) / 2 + random_.uniform(-12, 12),
                              (r.v0 + r.v1) / 2 + random_.uniform(-12, 12)),
                        radius, random_.uniform(0.55, 1.0));
    pond.cover = {SceneClass::water, SceneClass::water};
    world_.waters.push_back(std::move(pond));
  }
}

void Architect::add_river() {
  const double heading = random_.uniform(0, kPi);
  const Point middle = somewhere(size_ * 0.2);
  const double reach = world_.canvas * 1.1;
  const double swing = random_.uniform(8, 26);
  const double frequency = 2 * kPi / random_.uniform(150, 300);
  const double phase = random_.uniform(0, 2 * kPi);
  std::vector<Point> center;
  for (double t = -reach; t <= reach; t += 9) {
    const double side = swing * std::sin(frequency * t + phase);
    center.push_back({middle.x + std::cos(heading) * t - std::sin(heading) * side,
                      middle.y + std::sin(heading) * t + std::cos(heading) * side});
  }
  Area river;
  river.outline = strip(center, random_.uniform(13, 26));
  river.cover = {SceneClass::water, SceneClass::water};
  world_.waters.push_back(std::move(river));
}

World lay_out_world(Philox& random, int size) { return Architect(random, size).build(); }

}  // namespace strata::data::scene
