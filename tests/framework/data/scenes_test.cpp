#include "framework/data/scenes.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/data/differencing.hpp"
#include "tests/support/message.hpp"

namespace strata::data {
namespace {

namespace fs = std::filesystem;

class SceneFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("strata_scenes_" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  SceneSetOptions small(const std::string& name) const {
    SceneSetOptions options;
    options.out = root_ / name;
    options.train = 3;
    options.val = 1;
    options.test = 2;
    options.size = 64;
    options.seed = 11;
    return options;
  }
  static std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) {
        std::ifstream file(entry.path(), std::ios::binary);
        files[entry.path().lexically_relative(folder).string()] = {
            std::istreambuf_iterator<char>(file), {}};
      }
    }
    return files;
  }
  static std::string message_of(const SceneSetOptions& options) {
    return tests::message_of([&] { make_scene_set(options); });
  }

  fs::path root_;
};

double brightness(const std::vector<std::uint8_t>& picture, std::size_t pixel) {
  return picture[3 * pixel] + picture[3 * pixel + 1] + picture[3 * pixel + 2];
}

/// Correlation of the brightness of A at p with that of B at p + displacement, where nothing
/// changed; displacement by the scene's own map or none.
double correlation(const ScenePair& pair, bool moved) {
  double n = 0, sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
  for (int y = 4; y < pair.size - 4; ++y) {
    for (int x = 4; x < pair.size - 4; ++x) {
      const auto at = [&](int column, int row) {
        return static_cast<std::size_t>(row * pair.size + column);
      };
      if (pair.label[at(x, y)] != 0) continue;
      double u = x + 0.5;
      double v = y + 0.5;
      if (moved) {
        const auto& m = pair.a_to_b;
        u = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
        v = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
      }
      const int left = static_cast<int>(std::floor(u - 0.5));
      const int top = static_cast<int>(std::floor(v - 0.5));
      const double fx = u - 0.5 - left;
      const double fy = v - 0.5 - top;
      const double a = brightness(pair.a, at(x, y));
      const double b = (1 - fy) * ((1 - fx) * brightness(pair.b, at(left, top)) +
                                   fx * brightness(pair.b, at(left + 1, top))) +
                       fy * ((1 - fx) * brightness(pair.b, at(left, top + 1)) +
                             fx * brightness(pair.b, at(left + 1, top + 1)));
      n += 1, sa += a, sb += b, saa += a * a, sbb += b * b, sab += a * b;
    }
  }
  return (n * sab - sa * sb) / std::sqrt((n * saa - sa * sa) * (n * sbb - sb * sb));
}

TEST(Scenes, FollowFromSeedAndIndex) {
  const ScenePair first = draw_scene(7, 3, 96);
  const ScenePair again = draw_scene(7, 3, 96);
  EXPECT_EQ(first.a, again.a);
  EXPECT_EQ(first.b, again.b);
  EXPECT_EQ(first.label_a, again.label_a);
  EXPECT_EQ(first.label_b, again.label_b);
  EXPECT_EQ(first.a.size(), 96U * 96U * 3U);
  EXPECT_EQ(first.label.size(), 96U * 96U);
  EXPECT_NE(first.label_a, draw_scene(7, 4, 96).label_a);
  EXPECT_NE(first.label_a, draw_scene(8, 3, 96).label_a);
}

TEST(Scenes, ChangeIsADifferenceOfClassesOnFiveToFifteenPercent) {
  std::vector<int> seen(kSceneClasses.size());
  for (const int size : {64, 128, 200}) {
    for (std::uint64_t index = 0; index < 6; ++index) {
      const ScenePair pair = draw_scene(1, index, size);
      int changed = 0;
      for (std::size_t i = 0; i < pair.label.size(); ++i) {
        ASSERT_LT(pair.label_a[i], kSceneClasses.size());
        ASSERT_LT(pair.label_b[i], kSceneClasses.size());
        ASSERT_EQ(pair.label[i], pair.label_a[i] != pair.label_b[i] ? 1 : 0);
        changed += pair.label[i];
        ++seen[pair.label_a[i]];
      }
      const double share = changed / static_cast<double>(pair.label.size());
      EXPECT_GE(share, 0.05) << "size " << size << " index " << index;
      EXPECT_LE(share, 0.15) << "size " << size << " index " << index;
    }
  }
  for (std::size_t c = 0; c < seen.size(); ++c) {
    EXPECT_GT(seen[c], 0) << kSceneClasses[c];
  }
}

TEST(Scenes, EveryPixelMovesByOnePixelOrMore) {
  for (std::uint64_t index = 0; index < 20; ++index) {
    const ScenePair pair = draw_scene(2, index, 64);
    const auto& m = pair.a_to_b;
    for (const double x : {0.0, 32.0, 64.0}) {
      for (const double y : {0.0, 32.0, 64.0}) {
        const double length =
            std::hypot(m[0] * x + m[1] * y + m[2] - x, m[3] * x + m[4] * y + m[5] - y);
        EXPECT_GE(length, 1.0) << "index " << index << " at " << x << ", " << y;
        EXPECT_LE(length, 2.0) << "index " << index << " at " << x << ", " << y;
      }
    }
  }
}

TEST(Scenes, PictureBLiesWhereTheMapSays) {
  double gain = 0;
  for (std::uint64_t index = 0; index < 8; ++index) {
    const ScenePair pair = draw_scene(3, index, 128);
    gain += correlation(pair, true) - correlation(pair, false);
  }
  EXPECT_GT(gain / 8, 0.02);  // roads, roofs and trees fit only after the move
}

TEST(Scenes, RefusesImpossibleSizes) {
  try {
    draw_scene(0, 0, 63);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "size: must be from 64 to 2048 pixels, got 63");
  }
}

TEST_F(SceneFolder, BytesDoNotDependOnThreads) {
  SceneSetOptions one = small("one");
  one.jobs = 1;
  SceneSetOptions many = small("many");
  many.jobs = 5;
  int last = -1;
  int total = 0;
  EXPECT_EQ(make_scene_set(one), SceneSetResult::written);
  EXPECT_EQ(make_scene_set(many,
                           [&](int done, int of) {
                             EXPECT_GE(done, last);
                             last = done;
                             total = of;
                           }),
            SceneSetResult::written);
  EXPECT_EQ(last, 6);
  EXPECT_EQ(total, 6);
  const auto files = contents(one.out);
  EXPECT_EQ(files.size(), 6U * 5U + 1U);
  EXPECT_TRUE(files.contains("train/A/0002.png"));
  EXPECT_TRUE(files.contains("val/label_b/0000.png"));
  EXPECT_TRUE(files.contains("scenes.json"));
  EXPECT_EQ(files, contents(many.out));
  EXPECT_FALSE(fs::exists(root_ / "many.tmp"));
}

TEST_F(SceneFolder, MoreTrainingPairsLeaveTheTestPairs) {
  SceneSetOptions options = small("set");
  make_scene_set(options);
  const auto before = contents(options.out / "test");
  const auto train = contents(options.out / "train");
  options.train = 5;
  EXPECT_EQ(make_scene_set(options), SceneSetResult::written);
  EXPECT_EQ(contents(options.out / "test"), before);
  for (const auto& [name, bytes] : train) {
    EXPECT_EQ(contents(options.out / "train").at(name), bytes) << name;
  }
}

TEST_F(SceneFolder, KnowsWhatIsAlreadyThere) {
  const SceneSetOptions options = small("set");
  make_scene_set(options);
  const fs::path picture = options.out / "train/A/0000.png";
  const auto time = fs::last_write_time(picture);
  const auto files = contents(options.out);
  EXPECT_EQ(make_scene_set(options), SceneSetResult::up_to_date);
  EXPECT_EQ(fs::last_write_time(picture), time);
  fs::remove(options.out / "test/label/0001.png");  // damaged: drawn again
  EXPECT_EQ(make_scene_set(options), SceneSetResult::written);
  EXPECT_EQ(contents(options.out), files);
  SceneSetOptions other = options;
  other.seed = 12;
  EXPECT_EQ(make_scene_set(other), SceneSetResult::written);
  EXPECT_NE(contents(options.out), files);
}

TEST_F(SceneFolder, KeepsWhatItDidNotWrite) {
  const SceneSetOptions options = small("set");
  const std::string ending =
      ", which make_scenes did not write; nothing was changed; choose another folder or remove "
      "that";
  fs::create_directories(options.out);
  std::ofstream(options.out / "thesis.tex") << "precious";
  EXPECT_EQ(message_of(options), options.out.string() + ": holds \"thesis.tex\"" + ending);
  fs::remove(options.out / "thesis.tex");
  EXPECT_EQ(make_scene_set(options), SceneSetResult::written);  // an empty folder is free
  std::ofstream(options.out / "train/A/notes.txt") << "precious";
  SceneSetOptions other = options;
  other.seed = 12;
  const auto before = contents(options.out);
  EXPECT_EQ(message_of(other), options.out.string() + ": holds \"train/A/notes.txt\"" + ending);
  EXPECT_EQ(contents(options.out), before);
}

TEST_F(SceneFolder, ReplacesWhatAKilledRunLeft) {
  const SceneSetOptions options = small("set");
  make_scene_set(options);
  fs::rename(options.out, root_ / "set.tmp");
  EXPECT_EQ(make_scene_set(options), SceneSetResult::written);
  EXPECT_FALSE(fs::exists(root_ / "set.tmp"));
}

TEST_F(SceneFolder, RefusesBadOptions) {
  SceneSetOptions options = small("set");
  options.train = 10000;
  EXPECT_EQ(message_of(options), "--train: must be from 0 to 9999, got 10000");
  options = small("set");
  options.size = 32;
  EXPECT_EQ(message_of(options), "--size: must be from 64 to 2048, got 32");
  options = small("set");
  options.train = options.val = options.test = 0;
  EXPECT_EQ(message_of(options), "--train, --val and --test: ask for no pairs, got 0, 0 and 0");
  options = small("file");
  std::ofstream(options.out) << "x";
  EXPECT_EQ(message_of(options),
            options.out.string() + ": is a file, not a folder; choose another folder");
}

TEST_F(SceneFolder, DifferencingFailsOnHeldOutScenes) {
  SceneSetOptions options = small("set");
  options.train = 24;
  options.val = 0;
  options.test = 24;
  options.size = 128;
  make_scene_set(options);
  const auto results = fit_differencing(options.out / "train", options.out / "test");
  ASSERT_EQ(results.size(), 16U);
  for (const Differencing& result : results) {
    EXPECT_LE(result.test_f1, 0.5) << result.method;
    EXPECT_GE(result.test_f1, 0.05) << result.method;
    EXPECT_LE(result.train_f1, results.front().train_f1);
  }
}

TEST_F(SceneFolder, DifferencingNamesAFolderWithoutPairs) {
  try {
    fit_differencing(root_ / "nowhere", root_ / "nowhere");
    FAIL();
  } catch (const DataError& error) {
    const std::string folder = (root_ / "nowhere").string();
    EXPECT_EQ(error.what(),
              folder + "/A: holds no PNG pictures; expected A/, B/ and label/ in " + folder);
  }
}

}  // namespace
}  // namespace strata::data
