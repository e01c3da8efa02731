#pragma once
// The geometry of a drawn scene: what stands where at each of two dates, before any colour.
// Internal to the scene generator (framework/data/scenes.hpp). Lengths are pixels of the reference
// frame; a canvas is the picture plus a margin on every side, so that a shifted second date still
// shows drawn ground at its borders.
#include <array>
#include <cstdint>
#include <vector>

#include "framework/base/philox.hpp"
#include "framework/data/scene_shapes.hpp"
#include "framework/data/scenes.hpp"

namespace strata::data::scene {

inline constexpr int kMargin = 8;
/// Whether a canvas pixel is part of the picture.
bool is_in_view(int x, int y, int canvas);

using AtDates = std::array<bool, 2>;

struct Area {  // a parcel of land or a body of water
  Polygon outline;
  std::array<SceneClass, 2> cover{SceneClass::ground, SceneClass::ground};
  double row_angle = 0, row_period = 4;
  std::array<int, 2> crop{0, 0};  // index into the painter's crop colours
  bool town = false;              // trodden, lighter ground
};

struct Road {
  std::vector<Point> center;
  double width = 6;
  bool paved = true, marked = false;
};

enum class Roof { gable, hip, flat, sheds };

struct BuildingPart {
  Box box;
  AtDates present{true, true};
};

struct Building {
  std::vector<BuildingPart> parts;
  Roof roof = Roof::gable;
  int color = 0;  // index into the painter's roof colours
  double height = 8;
  std::uint32_t detail = 0;  // seed of roof furniture
  bool bare_site = false;    // bare soil where it stood or will stand
};

struct Tree {
  Point center;
  double radius = 4, tint = 0;
  std::uint32_t shape = 0;
  AtDates present{true, true};
};

struct Vehicle {
  Box box;
  int color = 0;
};

struct World {
  int canvas = 0;
  std::vector<Area> parcels, waters;
  std::vector<Road> roads;
  std::vector<Building> buildings;
  std::vector<Tree> trees;
  std::array<std::vector<Vehicle>, 2> vehicles;
};

/// Lays out a world whose view (the canvas without its margin) changes by 5 to 15 % of its pixels.
World lay_out_world(Philox& random, int size);

/// The class of every canvas pixel at a date (0 or 1), row by row.
std::vector<std::uint8_t> class_map(const World& world, int date);

/// Radius of a crown in the direction of an angle: a circle with lobes.
double crown_radius(const Tree& tree, double angle);

}  // namespace strata::data::scene
