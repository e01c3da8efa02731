#pragma once
// Colour for a drawn world: materials, light and sensor of one date. Internal to
// framework/data/scenes.hpp.
#include <array>
#include <cstdint>
#include <vector>

#include "framework/base/philox.hpp"
#include "framework/data/scene_world.hpp"

namespace strata::data::scene {

/// Everything that differs between dates and is no change of the ground.
struct Look {
  double season = 0;  // 0 spring, 1 summer, 2 autumn, 3 winter, back to 4 = 0
  double sun_azimuth = 0, shadow_length = 1;  // direction in which shadows fall; length over height
  double shade = 0.5;                         // light left in a shadow
  std::array<double, 3> gain{1, 1, 1};        // exposure and colour cast
  double gamma = 1, haze = 0, clouds = 0;
  double blur = 0.5, noise = 0.01;
};

/// Two looks that differ in season and sun by design, in the rest by chance.
std::array<Look, 2> draw_looks(Philox& random);

/// Where the camera of a date looks: picture position (x, y) shows canvas position kMargin + m *
/// (x, y, 1).
using View = std::array<double, 6>;

/// The colours of a date before light and lens: canvas x canvas x 3 floats, RGB, about 0 to 1. Both
/// dates pass the same `texture`, the grain of the ground.
std::vector<float> paint_canvas(const World& world, int date, const Look& look, Philox texture);

/// What the camera of a date records: size x size x 3 bytes, RGB. `sensor` is that date's own
/// noise.
std::vector<std::uint8_t> take_picture(const World& world, int date, const Look& look,
                                       const View& view, Philox texture, Philox sensor);

}  // namespace strata::data::scene
