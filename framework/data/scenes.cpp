#include "framework/data/scenes.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "framework/base/error.hpp"
#include "framework/base/philox.hpp"
#include "framework/data/scene_painter.hpp"
#include "framework/data/scene_world.hpp"

namespace strata::data {
namespace {

// Streams of one scene: index * kStreams + purpose.
enum SceneStream : std::uint64_t { kLayout, kLooks, kTexture, kSensorA, kSensorB, kStreams = 64 };
constexpr int kLayoutAttempts = 12;

/// The camera of date B: every point of the picture moves by at least one pixel, whatever the
/// rotation and scale add.
scene::View draw_second_view(Philox& random, int size) {
  constexpr double kLeast = 1.0;
  constexpr double kLocal = 0.15;  // most that rotation and scale move a corner
  const double half = size / 2.0;
  const double corner = half * std::numbers::sqrt2;
  const double rotation = random.uniform(-1, 1) * 0.7 * kLocal / corner;
  const double scale = 1 + random.uniform(-1, 1) * 0.7 * kLocal / corner;
  const double heading = random.uniform(0, 2 * std::numbers::pi);
  const double length = random.uniform(kLeast + kLocal, 1.45);
  const double c = scale * std::cos(rotation);
  const double s = scale * std::sin(rotation);
  return {c, -s, half - c * half + s * half + length * std::cos(heading),
          s, c,  half - s * half - c * half + length * std::sin(heading)};
}

scene::View invert_view(const scene::View& v) {
  const double d = v[0] * v[4] - v[1] * v[3];
  return {v[4] / d,  -v[1] / d, (v[1] * v[5] - v[4] * v[2]) / d,
          -v[3] / d, v[0] / d,  (v[3] * v[2] - v[0] * v[5]) / d};
}

std::vector<std::uint8_t> crop_canvas(const std::vector<std::uint8_t>& map, int size) {
  const auto side = static_cast<std::size_t>(size);
  const std::size_t canvas = side + 2 * scene::kMargin;
  std::vector<std::uint8_t> out(side * side);
  for (std::size_t y = 0; y < side; ++y) {
    const auto* row = map.data() + (y + scene::kMargin) * canvas + scene::kMargin;
    std::copy(row, row + side, out.data() + y * side);
  }
  return out;
}

}  // namespace

ScenePair draw_scene(std::uint64_t seed, std::uint64_t index, int size) {
  if (size < kSmallestScene || size > kLargestScene) {
    throw UserError(fmt::format("size: must be from {} to {} pixels, got {}", kSmallestScene,
                                kLargestScene, size));
  }
  const auto stream = [&](std::uint64_t purpose) {
    return Philox(seed, index * kStreams + purpose);
  };
  ScenePair pair;
  pair.size = size;
  scene::World world;
  for (int attempt = 0; attempt < kLayoutAttempts; ++attempt) {
    Philox layout = stream(kSensorB + 1 + static_cast<std::uint64_t>(attempt));
    world = scene::lay_out_world(layout, size);
    pair.label_a = crop_canvas(scene::class_map(world, 0), size);
    pair.label_b = crop_canvas(scene::class_map(world, 1), size);
    pair.label.resize(pair.label_a.size());
    std::size_t changed = 0;
    for (std::size_t i = 0; i < pair.label.size(); ++i) {
      pair.label[i] = pair.label_a[i] != pair.label_b[i] ? 1 : 0;
      changed += pair.label[i];
    }
    if (const double share = static_cast<double>(changed) / static_cast<double>(pair.label.size());
        share >= 0.05 && share <= 0.15) {
      break;
    }
  }
  Philox looks_random = stream(kLooks);
  const std::array<scene::Look, 2> looks = scene::draw_looks(looks_random);
  const scene::View first{1, 0, 0, 0, 1, 0};
  const scene::View second = draw_second_view(looks_random, size);
  pair.a_to_b = invert_view(second);
  pair.a = scene::take_picture(world, 0, looks[0], first, stream(kTexture), stream(kSensorA));
  pair.b = scene::take_picture(world, 1, looks[1], second, stream(kTexture), stream(kSensorB));
  return pair;
}

}  // namespace strata::data
