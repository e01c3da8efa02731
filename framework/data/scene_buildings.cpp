#include "framework/data/scene_architect.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace strata::data::scene {

// ---- buildings
bool Architect::add_building(Point center, double angle, Use use) {
  Building building;
  Box box{center, 0, 0, angle};
  switch (use) {
    case Use::industry:
      box.half_u = random_.uniform(17, 36);
      box.half_v = random_.uniform(12, 24);
      building.roof = random_.chance(0.55) ? Roof::sheds : Roof::flat;
      building.height = random_.uniform(9, 17);
      building.color = static_cast<int>(random_.integer(4, 9));
      break;
    case Use::blocks:
      box.half_u = random_.uniform(16, 30);
      box.half_v = random_.uniform(7, 10);
      building.roof = random_.chance(0.75) ? Roof::flat : Roof::hip;
      building.height = random_.uniform(14, 26);
      building.color = building.roof == Roof::flat ? static_cast<int>(random_.integer(3, 6))
                                                   : static_cast<int>(random_.integer(0, 3));
      break;
    default:
      box.half_u = random_.uniform(11, 19);
      box.half_v = random_.uniform(9, 13.5);
      building.roof =
          random_.chance(0.6) ? Roof::gable : (random_.chance(0.7) ? Roof::hip : Roof::flat);
      building.height = random_.uniform(6, 11);
      building.color = static_cast<int>(random_.integer(0, building.roof == Roof::flat ? 5 : 4));
  }
  if (!is_free(box.grown(2.5).corners())) {
    return false;
  }
  building.parts.push_back({box});
  if (random_.chance(use == Use::blocks ? 0.25 : 0.4)) {  // a wing: an L or a T
    if (const Box wing = wing_of(box); is_free(wing.grown(3).corners())) {
      building.parts.push_back({wing});
    }
  }
  for (const BuildingPart& part : building.parts) {
    claim(part.box.grown(2).corners());
  }
  building.detail = random_.next_u32();
  building.bare_site = random_.chance(0.35);
  world_.buildings.push_back(std::move(building));
  return true;
}

Box Architect::wing_of(const Box& box) {
  const double half_u = std::min(box.half_v, box.half_u * 0.6) * random_.uniform(0.8, 1.0);
  const double half_v = std::max(6.0, half_u * random_.uniform(0.7, 1.2));
  const double side = random_.chance(0.5) ? 1 : -1;
  const double end = random_.chance(0.7) ? (random_.chance(0.5) ? 1 : -1) : 0;
  return {box.world(end * (box.half_u - half_u), side * (box.half_v + half_v - 1)), half_u, half_v,
          box.angle};
}

void Architect::fill(const Plot& plot) {
  const Rect& r = plot.rect;
  if (plot.use == Use::field || plot.use == Use::meadow || plot.use == Use::forest) {
    if (plot.use != Use::forest && random_.chance(0.3)) {  // a farm
      const Point at =
          place(random_.uniform(r.u0 + 20, r.u1 - 20), random_.uniform(r.v0 + 20, r.v1 - 20));
      add_building(at, turn_ + random_.uniform(-0.3, 0.3),
                   random_.chance(0.4) ? Use::industry : Use::homes);
    }
    return;
  }
  const double step_u =
      plot.use == Use::homes ? random_.uniform(38, 47) : (plot.use == Use::blocks ? 60 : 66);
  const double step_v = plot.use == Use::homes
                            ? random_.uniform(33, 40)
                            : (plot.use == Use::blocks ? random_.uniform(28, 36) : 48);
  const bool turned = random_.chance(0.5);
  const double empty = random_.uniform(0.0, 0.2);
  const double du = turned ? step_v : step_u;
  const double dv = turned ? step_u : step_v;
  // As many as fit between the roads, spread evenly.
  const auto count_u = std::max(1, static_cast<int>((r.u1 - r.u0 - 12) / du));
  const auto count_v = std::max(1, static_cast<int>((r.v1 - r.v0 - 12) / dv));
  for (int j = 0; j < count_v; ++j) {
    for (int i = 0; i < count_u; ++i) {
      if (random_.chance(empty)) {
        continue;
      }
      const double across = random_.chance(plot.use == Use::homes ? 0.2 : 0.0) ? kPi / 2 : 0;
      const double u = (r.u0 + r.u1) / 2 + (i - (count_u - 1) / 2.0) * (r.u1 - r.u0 - 12) / count_u;
      const double v = (r.v0 + r.v1) / 2 + (j - (count_v - 1) / 2.0) * (r.v1 - r.v0 - 12) / count_v;
      const Point at = place(u + random_.uniform(-3, 3), v + random_.uniform(-3, 3));
      add_building(at, turn_ + (turned ? kPi / 2 : 0) + across + random_.uniform(-0.06, 0.06),
                   plot.use);
    }
  }
}

void Architect::fill_gaps() {
  const double goal = (0.10 + 0.13 * town_) * size_ * size_;
  double built = 0;
  for (const Building& building : world_.buildings) {
    built += building_area(building);
  }
  for (int attempt = 0; attempt < 300 && built < goal; ++attempt) {
    const Point at = somewhere(0);
    const auto plot = std::find_if(plots_.begin(), plots_.end(),
                                   [&](const Plot& p) { return contains(p.rect, at); });
    if (plot == plots_.end() || !world_.parcels[plot->parcel].town) {
      continue;
    }
    const double angle = turn_ + (random_.chance(0.5) ? kPi / 2 : 0) + random_.uniform(-0.06, 0.06);
    if (add_building(at, angle, random_.chance(0.7) ? Use::homes : plot->use)) {
      built += building_area(world_.buildings.back());
    }
  }
}

int Architect::building_area(const Building& building) const {
  int area = 0;
  for (const BuildingPart& part : building.parts) {
    area += visible_pixels(part.box.corners());
  }
  return area;
}

// ---- what happens between the dates
AtDates Architect::later(bool appears) const {
  return appears ? AtDates{false, true} : AtDates{true, false};
}

void Architect::plan_changes() {
  const double pixels = static_cast<double>(size_) * size_;
  goal_ = random_.uniform(0.06, 0.12) * pixels;
  const double growth = random_.uniform(0.25, 0.75);  // share of events that add rather than remove
  change_land(growth);
  std::vector<std::size_t> order(world_.buildings.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  random_.shuffle(order);
  std::size_t next = 0;
  // Wings first, then whole buildings until the goal is met, new ones on free land where too few
  // stand.
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size() / 4, 3); ++i) {
    grow_building(world_.buildings[order[next++]], growth);
  }
  for (; next < order.size() && changed_ < goal_; ++next) {
    Building& building = world_.buildings[order[next]];
    const int area = building_area(building);
    if (area >= 60 && changed_ + area < goal_ * 1.12) {
      change_building(building, area, growth);
    }
  }
  for (int attempt = 0; attempt < 400 && changed_ < goal_ * 0.85; ++attempt) {
    const Use use = attempt < 100 && random_.chance(0.4) ? Use::industry : Use::homes;
    if (add_building(somewhere(8), turn_ + random_.uniform(-0.3, 0.3), use)) {
      Building& building = world_.buildings.back();
      change_building(building, building_area(building), growth);
    }
  }
}

void Architect::change_building(Building& building, int area, double growth) {
  const AtDates when = later(random_.chance(growth));
  for (BuildingPart& part : building.parts) {
    part.present = when;
  }
  changed_ += area;
}

void Architect::grow_building(Building& building, double growth) {
  const AtDates when = later(random_.chance(growth));
  if (building.parts.size() < 2) {
    Box wing = wing_of(building.parts[0].box);
    wing.half_v = std::max(wing.half_v, 7.0);
    if (!is_free(wing.grown(-0.5).corners()) && !wing_clears(building.parts[0].box, wing)) {
      return;
    }
    claim(wing.grown(2).corners());
    building.parts.push_back({wing});
  }
  building.parts.back().present = when;
  changed_ += visible_pixels(building.parts.back().box.corners());
}

bool Architect::wing_clears(const Box& main, const Box& wing) {
  bool clear = true;
  for_each_pixel(wing.grown(2).corners(), world_.canvas, [&](int x, int y, float) {
    const Point p = main.local(x + 0.5, y + 0.5);
    const bool own = std::abs(p.x) < main.half_u + 3.5 && std::abs(p.y) < main.half_v + 3.5;
    clear = clear && (own || taken(x, y) == 0);
  });
  return clear;
}

void Architect::change_land(double growth) {
  for (std::size_t i = 0; i < world_.waters.size(); ++i) {
    const int area = visible_pixels(world_.waters[i].outline);
    if (area >= 100 && changed_ + area < goal_ * 0.5 && random_.chance(0.45)) {
      world_.waters[i].cover[random_.chance(growth) ? 0 : 1] = SceneClass::ground;
      changed_ += area;
    }
  }
  for (const Plot& plot : plots_) {
    Area& parcel = world_.parcels[plot.parcel];
    const int area = visible_pixels(parcel.outline);
    if (plot.use == Use::field && area >= 400 && changed_ + area < goal_ * 0.55 &&
        random_.chance(0.3)) {
      parcel.cover[random_.chance(0.5) ? 0 : 1] = SceneClass::ground;
      changed_ += area;
    }
  }
}

}  // namespace strata::data::scene
