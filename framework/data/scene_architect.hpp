#pragma once
// Lays out a drawn world: roads cut the land into plots, plots get a use, buildings, trees.
// Internal to framework/data/scenes.hpp. Every step draws from one sequence of random numbers, so
// the order of the steps is part of the data's version.
#include <array>
#include <cstdint>
#include <vector>

#include "framework/base/philox.hpp"
#include "framework/data/scene_world.hpp"

namespace strata::data::scene {

class Architect {
 public:
  Architect(Philox& random, int size);
  World build();

 private:
  struct Rect {  // in the turned frame, origin at the middle of the canvas
    double u0, v0, u1, v1;
  };
  struct Wave {
    double height, frequency, phase;
  };
  enum class Use { homes, blocks, industry, field, meadow, forest };
  struct Plot {
    Rect rect;
    Use use;
    std::size_t parcel;
  };

  // Frames and occupancy.
  Point place(double u, double v) const;
  std::vector<Point> line(double u0, double v0, double u1, double v1) const;
  Polygon outline(const Rect& r) const;
  Polygon blob(Point center, double radius, double squeeze);
  std::uint8_t& taken(int x, int y);
  void claim(const Polygon& polygon);
  bool is_free(const Polygon& polygon);
  int visible_pixels(const Polygon& polygon) const;
  Point somewhere(double inset);
  /// Whether a plot holds a canvas point, up to the bend of its borders.
  bool contains(const Rect& r, const Point& p) const;

  // Land.
  void split(const Rect& r, int depth);
  void add_plot(const Rect& r);
  void add_river();

  // Buildings.
  bool add_building(Point center, double angle, Use use);
  Box wing_of(const Box& box);
  void fill(const Plot& plot);
  /// Houses in the remaining corners of built-up plots: most buildings of a scene must stay as they
  /// are.
  void fill_gaps();
  int building_area(const Building& building) const;

  // What happens between the dates.
  AtDates later(bool appears) const;
  void plan_changes();
  void change_building(Building& building, int area, double growth);
  void grow_building(Building& building, double growth);
  /// The wing touches only ground that its own main part claimed.
  bool wing_clears(const Box& main, const Box& wing);
  void change_land(double growth);

  // Trees and vehicles.
  bool add_tree(Point at, double radius, double gap);
  void plant(const Plot& plot);
  void plant_roadsides();
  void fell_groves();
  void park(std::vector<Vehicle>& vehicles);

  Philox& random_;
  int size_;
  double turn_ = 0, town_ = 0;
  std::array<Wave, 2> bend_{};
  World world_;
  std::vector<std::uint8_t> taken_;  // canvas pixels that something stands on
  std::vector<Plot> plots_;
  double goal_ = 0, changed_ = 0;
};

}  // namespace strata::data::scene
