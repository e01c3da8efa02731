#pragma once
// Drawn bitemporal scenes: aerial-like pictures of invented towns and farmland at two dates, with
// exact labels. They need no download and are a function of a seed, so quickstart and the tests
// train on them.
//
// Between the dates buildings appear, vanish and grow, ponds are dug or filled, groves felled,
// fields given up. What also differs and is no change: season, crops, sun and shadows, exposure,
// gamma, colour cast, haze, blur, noise, vehicles, and the camera (every pixel of B shows ground
// that lies 1 to 2 pixels beside that of A).
//
// Labels lie in the frame of date A, all of them: `label_a` is exact for picture A, `label_b` says
// what stands at date B at each place of picture A, and `label` is 1 where the two classes differ.
// Semantic change labels are therefore the classes of `label_a` and `label_b` where `label` is 1.
#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::data {

enum class SceneClass : std::uint8_t { ground, field, water, road, building, tree };
inline constexpr std::array<std::string_view, 6> kSceneClasses{"ground", "field",    "water",
                                                               "road",   "building", "tree"};
inline constexpr std::array<std::array<std::uint8_t, 3>, 6> kScenePalette{{{205, 185, 150},
                                                                           {170, 205, 90},
                                                                           {50, 110, 190},
                                                                           {125, 125, 130},
                                                                           {220, 60, 50},
                                                                           {30, 120, 60}}};

/// One scene. Pictures are size x size x 3 bytes (RGB), maps size x size bytes, row by row.
struct ScenePair {
  int size = 0;
  std::vector<std::uint8_t> a, b;
  std::vector<std::uint8_t> label;             // 1 changed, 0 not
  std::vector<std::uint8_t> label_a, label_b;  // SceneClass of each date
  // Ground that picture A shows at p lies at p + displacement(p) in picture B; p in pixels, (0, 0)
  // the corner.
  std::array<double, 6> a_to_b{};  // x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5
};

/// Draws scene number `index` of a seed; the same bytes for the same arguments. Throws UserError
/// unless kSmallestScene <= size <= kLargestScene.
inline constexpr int kSmallestScene = 64;
inline constexpr int kLargestScene = 2048;
STRATA_API ScenePair draw_scene(std::uint64_t seed, std::uint64_t index, int size);

/// A data set on disk: `out/{train,val,test}/{A,B,label,label_a,label_b}/NNNN.png` and
/// `out/scenes.json`. Pictures are RGB, labels one channel of class indices (label: 0, 1).
struct SceneSetOptions {
  std::filesystem::path out;
  int train = 200, val = 40, test = 60;  // numbers of pairs
  int size = 256;
  std::uint64_t seed = 0;
  int jobs = 0;  // threads; 0: one a core. The bytes do not depend on it
};

enum class SceneSetResult { written, up_to_date };

/// Writes the set, or finds it already there. It is drawn beside its place and renamed when whole,
/// so an interrupted call leaves `out` as it was. `progress(done, total)` is called from the
/// calling thread. Throws UserError for a folder that holds anything else, for numbers out of range
/// and for a failed write.
STRATA_API SceneSetResult make_scene_set(
    const SceneSetOptions& options, const std::function<void(int done, int total)>& progress = {});

}  // namespace strata::data
