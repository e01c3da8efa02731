// Polygons along the edges of pixels, and what is shown of pictures of other kinds.
#include "framework/inference/polygons.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/inference/pictures.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

using inference::Polygon;
using inference::PolygonOptions;
using inference::polygons_of;
using inference::Ring;

LabelSpec label_of(std::vector<std::string> classes) {
  LabelSpec label;
  label.name = "change";
  label.classes = std::move(classes);
  return label;
}

at::Tensor map_of(const std::vector<std::string>& rows) {
  const auto height = static_cast<std::int64_t>(rows.size());
  const auto width = static_cast<std::int64_t>(rows.front().size());
  at::Tensor map = at::empty({height, width}, at::kByte);
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      map[y][x] = rows[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)] - '0';
    }
  }
  return map;
}

double area_of(const Ring& ring) {
  double twice = 0;
  for (std::size_t i = 0; i < ring.size(); ++i) {
    const auto &a = ring[i], &b = ring[(i + 1) % ring.size()];
    twice += a[0] * b[1] - b[0] * a[1];
  }
  return std::abs(twice) / 2;
}

std::set<std::array<double, 2>> corners(const Ring& ring) { return {ring.begin(), ring.end()}; }

TEST(Polygons, RunAlongTheEdgesOfPixels) {
  const auto polygons =
      polygons_of(map_of({"00000", "01110", "01010", "01110"}), label_of({"same", "changed"}));
  ASSERT_EQ(polygons.size(), 1u);
  EXPECT_EQ(polygons[0].area, 8);
  EXPECT_EQ(polygons[0].outline.size(), 4u);
  EXPECT_EQ(corners(polygons[0].outline),
            (std::set<std::array<double, 2>>{{1, 1}, {4, 1}, {4, 4}, {1, 4}}));
  ASSERT_EQ(polygons[0].holes.size(), 1u);
  EXPECT_EQ(corners(polygons[0].holes[0]),
            (std::set<std::array<double, 2>>{{2, 2}, {3, 2}, {3, 3}, {2, 3}}));
}

TEST(Polygons, OfALineOfPixelsHaveItsWidth) {
  const auto polygons = polygons_of(map_of({"111", "100"}), label_of({"same", "changed"}));
  ASSERT_EQ(polygons.size(), 1u);
  EXPECT_EQ(polygons[0].outline.size(), 6u);
  EXPECT_EQ(area_of(polygons[0].outline), 4);
}

// Whatever the map, the areas inside the outlines and outside the holes are its pixels.
TEST(Polygons, HaveTheAreaOfTheirPixels) {
  at::manual_seed(11);
  for (int round = 0; round < 30; ++round) {
    const at::Tensor noise = at::rand({1, 1, 23, 31});
    // Blobs and single pixels by turns.
    const at::Tensor smooth = round % 2 == 0 ? noise : at::avg_pool2d(noise, 5, 1, 2) * 2 - 0.5;
    const at::Tensor map = (smooth[0][0] * 3).clamp(0, 2.99).floor().to(at::kByte);
    PolygonOptions options;
    options.background = true;
    std::vector<double> covered(3), counted(3);
    for (const Polygon& polygon : polygons_of(map, label_of({"a", "b", "c"}), options)) {
      double area = area_of(polygon.outline);
      for (const Ring& hole : polygon.holes) area -= area_of(hole);
      EXPECT_EQ(area, polygon.area) << "round " << round;
      covered[static_cast<std::size_t>(polygon.label)] += area;
    }
    for (int c = 0; c < 3; ++c) {
      EXPECT_EQ(covered[static_cast<std::size_t>(c)], (map == c).sum().item<double>());
    }
  }
}

/// A polygon as text that does not depend on where its rings begin.
std::string text_of(const Polygon& polygon) {
  auto ring_text = [](Ring ring) {
    double twice = 0;
    for (std::size_t i = 0; i < ring.size(); ++i) {
      const auto &a = ring[i], &b = ring[(i + 1) % ring.size()];
      twice += a[0] * b[1] - b[0] * a[1];
    }
    if (twice < 0) std::reverse(ring.begin(), ring.end());
    // From the smallest corner on; of several equal ones the turn that reads smallest.
    Ring best;
    for (std::size_t i = 0; i < ring.size(); ++i) {
      std::rotate(ring.begin(), ring.begin() + 1, ring.end());
      if (best.empty() || ring < best) best = ring;
    }
    std::string text;
    for (const auto& point : best) {
      text += std::to_string(static_cast<int>(point[0])) + "," +
              std::to_string(static_cast<int>(point[1])) + " ";
    }
    return text;
  };
  std::multiset<std::string> holes;
  for (const Ring& hole : polygon.holes) holes.insert(ring_text(hole));
  std::string text = std::to_string(polygon.label) + ": " + std::to_string(polygon.area) + ": " +
                     ring_text(polygon.outline);
  for (const std::string& hole : holes) text += "| " + hole;
  return text;
}

// Strips of any height, blobs and noise, areas that touch themselves at corners.
TEST(PolygonStream, GivesThePolygonsOfTheWhole) {
  at::manual_seed(12);
  const LabelSpec label = label_of({"a", "b", "c"});
  for (int round = 0; round < 60; ++round) {
    const at::Tensor noise = at::rand({1, 1, 29, 23});
    const at::Tensor smooth = round % 3 == 0 ? noise : at::avg_pool2d(noise, 5, 1, 2) * 2 - 0.5;
    const double classes = round % 2 == 0 ? 3 : 2;
    const at::Tensor map = (smooth[0][0] * classes).clamp(0, classes - 0.01).floor().to(at::kByte);
    PolygonOptions options;
    options.background = round % 4 < 2;
    options.min_area = round % 5 == 0 ? 4 : 0;
    std::multiset<std::string> whole, streamed;
    for (const Polygon& polygon : polygons_of(map, label, options)) whole.insert(text_of(polygon));
    inference::PolygonStream stream(
        label, options, [&](const Polygon& polygon) { streamed.insert(text_of(polygon)); });
    const std::int64_t height = 1 + round % 8;
    for (std::int64_t top = 0; top < 29; top += height) {
      stream.add(map.narrow(0, top, std::min<std::int64_t>(height, 29 - top)));
    }
    stream.finish();
    EXPECT_EQ(streamed, whole) << "round " << round << ", strips of " << height;
  }
}

TEST(PolygonStream, HandsAPolygonOnOnceItIsComplete) {
  std::vector<double> areas;
  inference::PolygonStream stream(label_of({"same", "changed"}), {},
                                  [&](const Polygon& polygon) { areas.push_back(polygon.area); });
  stream.add(map_of({"0110", "0110"}));
  EXPECT_TRUE(areas.empty());
  stream.add(map_of({"0010", "1000"}));
  EXPECT_EQ(areas, (std::vector<double>{5})) << "the other one reaches the last row";
  stream.add(map_of({"0000"}));
  EXPECT_EQ(areas, (std::vector<double>{5, 1}));
}

TEST(Polygons, LeaveOutWhatIsSmallAndWhatIsIgnored) {
  LabelSpec label = label_of({"same", "changed"});
  const at::Tensor map = map_of({"10011", "00011", "00000"});
  PolygonOptions options;
  options.min_area = 2;
  EXPECT_EQ(polygons_of(map, label, options).size(), 1u);
  label.ignore_index = 1;
  EXPECT_TRUE(polygons_of(map, label).empty());
}

TEST(Polygons, AreSimplifiedWithinTheTolerance) {
  at::Tensor map = at::zeros({60, 60}, at::kByte);
  for (int y = 0; y < 60; ++y) {
    for (int x = 0; x < 60; ++x) {
      if ((x - 30) * (x - 30) + (y - 30) * (y - 30) < 25 * 25) map[y][x] = 1;
    }
  }
  PolygonOptions options;
  const auto exact = polygons_of(map, label_of({"same", "changed"}));
  options.tolerance = 1.5;
  const auto simple = polygons_of(map, label_of({"same", "changed"}), options);
  ASSERT_EQ(simple.size(), 1u);
  EXPECT_LT(simple[0].outline.size() * 3, exact[0].outline.size());
  EXPECT_NEAR(area_of(simple[0].outline), exact[0].area, exact[0].area / 20);
}

TEST(GeoJsonFile, IsWhatTheTextIs) {
  const TempDir folder;
  const LabelSpec label = label_of({"same", "changed"});
  const auto polygons = polygons_of(map_of({"101", "000", "111"}), label);
  {
    inference::GeoJsonFile file(folder / "a.geojson", label, {});
    for (const Polygon& polygon : polygons) file.add(polygon);
    EXPECT_FALSE(std::filesystem::exists(folder / "a.geojson"));
    file.finish();
    inference::GeoJsonFile given_up(folder / "b.geojson", label, {});
  }
  EXPECT_EQ(file_content(folder / "a.geojson"), inference::to_geojson(polygons, label));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(GeoJson, HasClosedRingsInTheRightDirectionAndPlace) {
  const LabelSpec label = label_of({"same", "changed"});
  const auto polygons = polygons_of(map_of({"111", "101", "111"}), label);
  const auto pixels = nlohmann::json::parse(inference::to_geojson(polygons, label));
  EXPECT_FALSE(pixels.contains("crs"));
  const auto& feature = pixels["features"][0];
  EXPECT_EQ(feature["properties"]["class"], "changed");
  EXPECT_EQ(feature["properties"]["area"], 8);
  const auto& rings = feature["geometry"]["coordinates"];
  ASSERT_EQ(rings.size(), 2u);
  EXPECT_EQ(rings[0].front(), rings[0].back());
  EXPECT_EQ(rings[0].size(), 5u);

  io::GeoReference place;
  place.transform = {500000, 10, 0, 4000000, 0, -10};
  place.name = "urn:ogc:def:crs:EPSG::32633";
  const auto world = nlohmann::json::parse(inference::to_geojson(polygons, label, place));
  EXPECT_EQ(world["crs"]["properties"]["name"], "urn:ogc:def:crs:EPSG::32633");
  auto doubled_area = [](const nlohmann::json& ring) {
    double sum = 0;
    for (std::size_t i = 0; i + 1 < ring.size(); ++i) {
      sum += ring[i][0].get<double>() * ring[i + 1][1].get<double>() -
             ring[i + 1][0].get<double>() * ring[i][1].get<double>();
    }
    return sum;
  };
  const auto& there = world["features"][0]["geometry"]["coordinates"];
  EXPECT_EQ(doubled_area(there[0]), 2 * 900.0);   // counter-clockwise
  EXPECT_EQ(doubled_area(there[1]), -2 * 100.0);  // clockwise
}

TEST(Displayable, StretchesWhatIsNoPicture) {
  const at::Tensor wide = at::arange(400, at::kFloat).reshape({10, 40, 1}) * 100;
  const at::Tensor shown = inference::displayable(wide.expand({10, 40, 4}).contiguous());
  EXPECT_EQ(shown.sizes(), (std::vector<std::int64_t>{10, 40, 3}));
  EXPECT_EQ(shown.scalar_type(), at::kByte);
  EXPECT_EQ(shown.min().item<int>(), 0);
  EXPECT_EQ(shown.max().item<int>(), 255);
  const at::Tensor grey = at::full({2, 3, 1}, 7, at::kByte);
  EXPECT_TRUE(at::equal(inference::displayable(grey), at::full({2, 3, 3}, 7, at::kByte)));
}

}  // namespace
}  // namespace strata::tests
