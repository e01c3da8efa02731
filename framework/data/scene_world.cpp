#include "framework/data/scene_world.hpp"

#include <cmath>

namespace strata::data::scene {

bool is_in_view(int x, int y, int canvas) {
  return x >= kMargin && y >= kMargin && x < canvas - kMargin && y < canvas - kMargin;
}

double crown_radius(const Tree& tree, double angle) {
  const double phase = tree.shape * 1.4629e-9;  // 2^-32 * 2 pi
  return tree.radius *
         (1 + 0.10 * std::sin(3 * angle + phase) + 0.07 * std::sin(5 * angle + 2.3 * phase));
}

std::vector<std::uint8_t> class_map(const World& world, int date) {
  const auto when = static_cast<std::size_t>(date);
  const auto canvas = static_cast<std::size_t>(world.canvas);
  std::vector<std::uint8_t> map(canvas * canvas, static_cast<std::uint8_t>(SceneClass::ground));
  const auto draw = [&](const Polygon& polygon, SceneClass value) {
    for_each_pixel(polygon, world.canvas, [&](int x, int y, float share) {
      if (share >= 0.5F) {
        map[static_cast<std::size_t>(y) * canvas + static_cast<std::size_t>(x)] =
            static_cast<std::uint8_t>(value);
      }
    });
  };
  for (const Area& parcel : world.parcels) {
    draw(parcel.outline, parcel.cover[when]);
  }
  for (const Area& water : world.waters) {
    if (water.cover[when] == SceneClass::water) {
      draw(water.outline, SceneClass::water);
    }
  }
  for (const Road& road : world.roads) {
    draw(strip(road.center, road.width), SceneClass::road);
  }
  for (const Building& building : world.buildings) {
    for (const BuildingPart& part : building.parts) {
      if (part.present[when]) {
        draw(part.box.corners(), SceneClass::building);
      }
    }
  }
  for (const Tree& tree : world.trees) {
    if (!tree.present[when]) {
      continue;
    }
    Polygon crown;
    for (int i = 0; i < 16; ++i) {
      const double angle = 2 * kPi * i / 16;
      const double r = crown_radius(tree, angle);
      crown.push_back({tree.center.x + r * std::cos(angle), tree.center.y + r * std::sin(angle)});
    }
    draw(crown, SceneClass::tree);
  }
  return map;
}

}  // namespace strata::data::scene
