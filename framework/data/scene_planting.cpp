#include "framework/data/scene_architect.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace strata::data::scene {

// ---- trees and vehicles
bool Architect::add_tree(Point at, double radius, double gap) {
  const auto x = static_cast<int>(std::floor(at.x));
  const auto y = static_cast<int>(std::floor(at.y));
  const int reach = static_cast<int>(radius * gap);
  for (auto [dx, dy] : {std::pair{0, 0}, {reach, 0}, {-reach, 0}, {0, reach}, {0, -reach}}) {
    const int px = std::clamp(x + dx, 0, world_.canvas - 1);
    const int py = std::clamp(y + dy, 0, world_.canvas - 1);
    if (taken(px, py) != 0) {
      return false;
    }
  }
  if (at.x < -radius || at.y < -radius || at.x > world_.canvas + radius ||
      at.y > world_.canvas + radius) {
    return false;
  }
  world_.trees.push_back({at, radius, random_.uniform(-1, 1), random_.next_u32()});
  return true;
}

void Architect::plant(const Plot& plot) {
  const Rect& r = plot.rect;
  const double area = (r.u1 - r.u0) * (r.v1 - r.v0);
  const auto scatter = [&](double per_pixel, double low, double high, double inset) {
    const int count = static_cast<int>(area * per_pixel);
    for (int i = 0; i < count; ++i) {
      const Point at = place(random_.uniform(r.u0 + inset, r.u1 - inset),
                             random_.uniform(r.v0 + inset, r.v1 - inset));
      add_tree(at, random_.uniform(low, high), 1.0);
    }
  };
  switch (plot.use) {
    case Use::forest:
      scatter(1.0 / 55, 4.5, 8.5, 2);
      break;
    case Use::homes:
      scatter(1.0 / 450, 3.5, 6.0, 0);
      break;
    case Use::blocks:
      scatter(1.0 / 500, 3.5, 6.5, 0);
      break;
    case Use::meadow:
      scatter(1.0 / 1200, 4.0, 7.5, 0);
      break;
    case Use::field:
    case Use::industry:
      if (random_.chance(0.5)) {  // a hedge along one side
        for (double u = r.u0; u < r.u1; u += random_.uniform(6, 9)) {
          add_tree(place(u, r.v0 + random_.uniform(0, 4)), random_.uniform(3.5, 5.5), 1.0);
        }
      }
      break;
  }
}

void Architect::plant_roadsides() {
  for (const Road& road : world_.roads) {
    if (!road.paved || !random_.chance(0.4)) {
      continue;
    }
    const double offset = road.width / 2 + 7;
    for (std::size_t i = 1; i < road.center.size(); ++i) {
      const Point& p = road.center[i - 1];
      const Point& q = road.center[i];
      const double length = std::hypot(q.x - p.x, q.y - p.y);
      const Point n{-(q.y - p.y) / length, (q.x - p.x) / length};
      for (const double side : {-1.0, 1.0}) {
        add_tree({p.x + side * offset * n.x, p.y + side * offset * n.y}, random_.uniform(3.5, 5),
                 0.6);
      }
    }
  }
}

void Architect::fell_groves() {
  if (!random_.chance(0.45)) {
    return;
  }
  const Point at = somewhere(20);
  const double radius = random_.uniform(14, 26);
  const AtDates when = later(random_.chance(0.4));
  std::vector<Tree*> grove;
  for (Tree& tree : world_.trees) {
    if (std::hypot(tree.center.x - at.x, tree.center.y - at.y) < radius) {
      grove.push_back(&tree);
    }
  }
  if (grove.size() < 4) {
    return;  // a lone tree is too small a change
  }
  for (Tree* tree : grove) {
    tree->present = when;
  }
}

void Architect::park(std::vector<Vehicle>& vehicles) {
  for (const Road& road : world_.roads) {
    if (!road.paved) {
      continue;
    }
    for (std::size_t i = 1; i < road.center.size(); ++i) {
      if (!random_.chance(0.16)) {
        continue;
      }
      const Point& p = road.center[i - 1];
      const Point& q = road.center[i];
      const double angle = std::atan2(q.y - p.y, q.x - p.x);
      const double lane = road.width / 4 * (random_.chance(0.5) ? 1 : -1);
      const bool lorry = random_.chance(0.15);
      vehicles.push_back({{{p.x - std::sin(angle) * lane, p.y + std::cos(angle) * lane},
                           lorry ? 7.5 : 4.2,
                           lorry ? 2.4 : 2.0,
                           angle},
                          static_cast<int>(random_.integer(0, 5))});
    }
  }
}

}  // namespace strata::data::scene
