// Sizes, turns, affine maps and padding on arrays small enough to work out by hand.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "framework/data/pixels.hpp"
#include "tests/framework/data/pictures.hpp"

namespace strata::tests {
namespace {

std::array<std::int64_t, 2> size_after(const std::string& table, std::int64_t height,
                                       std::int64_t width, std::uint64_t stream = 0) {
  const Sample sample = applied(table, sample_of(grid(height, width)), stream);
  for (const auto& [name, target] : sample.targets) {
    EXPECT_EQ(target.map.size(0), sample.height());
    EXPECT_EQ(target.map.size(1), sample.width());
  }
  EXPECT_EQ(sample.meta.height, sample.height());
  EXPECT_EQ(sample.meta.width, sample.width());
  return {sample.height(), sample.width()};
}

using Size = std::array<std::int64_t, 2>;

TEST(Resize, TakesOneNumberOrAFactor) {
  EXPECT_EQ(size_after("{type = \"Resize\", size = 5}", 8, 6), (Size{5, 5}));
  EXPECT_EQ(size_after("{type = \"Resize\", scale_factor = 0.5}", 9, 6), (Size{5, 3}));
  EXPECT_EQ(size_after("{type = \"Resize\", scale_factor = [2, 0.1]}", 4, 4), (Size{8, 1}));
  EXPECT_EQ(message_of([] { size_after("{type = \"Resize\"}", 4, 4); }),
            "test.toml:1:5: x: needs size or scale_factor");
  EXPECT_EQ(message_of([] { size_after("{type = \"Resize\", size = 2, scale_factor = 2}", 4, 4); }),
            "test.toml:1:5: x: takes size or scale_factor, not both");
}

TEST(ResizeToMultiple, GrowsToTheNext) {
  EXPECT_EQ(size_after("{type = \"ResizeToMultiple\", size_divisor = 4}", 5, 8), (Size{8, 8}));
  EXPECT_EQ(size_after("{type = \"ResizeToMultiple\"}", 33, 64), (Size{64, 64}));
}

TEST(ResizeShortestEdge, KeepsTheRatioAndTheLimit) {
  EXPECT_EQ(size_after("{type = \"ResizeShortestEdge\", size = 10}", 20, 50), (Size{10, 25}));
  EXPECT_EQ(size_after("{type = \"ResizeShortestEdge\", size = 10}", 50, 20), (Size{25, 10}));
  // 25 is more than 15: both sides times 15/50.
  EXPECT_EQ(size_after("{type = \"ResizeShortestEdge\", size = 10, max_size = 15}", 20, 50),
            (Size{6, 15}));
  std::set<std::int64_t> seen;
  for (std::uint64_t stream = 0; stream < 30; ++stream) {
    seen.insert(size_after("{type = \"ResizeShortestEdge\", size = [4, 6]}", 8, 8, stream)[0]);
  }
  EXPECT_EQ(seen, (std::set<std::int64_t>{4, 6}));
}

TEST(RandomChoiceResize, TakesOneOfItsSizes) {
  std::set<Size> seen;
  for (std::uint64_t stream = 0; stream < 40; ++stream) {
    seen.insert(size_after(
        "{type = \"RandomChoiceResize\", keep_ratio = false, sizes = [[4, 6], [5, 5], [9, 2]]}", 8,
        8, stream));
  }
  EXPECT_EQ(seen, (std::set<Size>{{4, 6}, {5, 5}, {9, 2}}));
  EXPECT_EQ(size_after("{type = \"RandomChoiceResize\", sizes = [[4, 40]]}", 8, 16), (Size{4, 8}));
  EXPECT_EQ(message_of(
                [] { size_after("{type = \"RandomChoiceResize\", sizes = [[4, 4], [5]]}", 4, 4); }),
            "test.toml:1:52: x.sizes.1: expected [height, width] of 1 or more, got [5]");
}

TEST(Resize, WindowsAreCropsToTheByte) {
  Philox random(seed(), 5);
  for (int i = 0; i < 400; ++i) {
    const std::int64_t height = random.integer(1, 60), width = random.integer(1, 60);
    const std::int64_t full_height = random.integer(1, 130), full_width = random.integer(1, 130);
    const std::int64_t top = random.integer(0, full_height - 1);
    const std::int64_t left = random.integer(0, full_width - 1);
    const data::Window window{full_height,
                              full_width,
                              top,
                              left,
                              random.integer(1, full_height - top),
                              random.integer(1, full_width - left)};
    const at::Tensor image =
        at::randint(256, {height, width, random.integer(1, 4)}, at::kLong).to(at::kByte);
    const at::Tensor part = data::resize_window(image, window, "bilinear");
    ASSERT_EQ(part.size(0), window.height);
    EXPECT_TRUE(
        at::equal(part, data::crop(data::resize_image(image, full_height, full_width, "bilinear"),
                                   top, left, window.height, window.width)))
        << height << " x " << width << " to " << full_height << " x " << full_width;
    const at::Tensor map = image.select(2, 0).contiguous();
    EXPECT_TRUE(at::equal(data::resize_label_window(map, window),
                          data::crop(data::resize_label(map, full_height, full_width), top, left,
                                     window.height, window.width)));
  }
}

// The loader puts resizing off for the crop behind it, through wrappers too.
TEST(Resize, PuttingItOffChangesNothing) {
  const std::vector<std::string> crop = {
      "{type = \"RandomCrop\", size = [9, 8], cat_max_ratio = 0.5, pad_if_needed = true}",
      "{type = \"CenterCrop\", size = [7, 30]}",
      "{type = \"RandomApply\", prob = 1, transforms = [{type = \"RandomCrop\", size = [6, 6]}]}",
      "{type = \"RandomFlip\", prob = 1}", "{type = \"Resize\", size = [10, 14]}"};
  for (std::uint64_t stream = 0; stream < 60; ++stream) {
    std::vector<std::shared_ptr<const Transform>> chain = {
        make<Transform>("{type = \"RandomResize\", size = [20, 24], ratio_range = [0.5, 3]}",
                        {specs()}),
        make<Transform>(crop[stream % crop.size()], {specs()})};
    Sample late = sample_of(grid(13, 17)), now = sample_of(grid(13, 17));
    Philox one(seed(), stream), other(seed(), stream);
    run_transforms(chain, late, one, {});
    settle(late);
    for (const auto& transform : chain) {
      transform->mix(now, other, {});
      settle(now);
    }
    EXPECT_EQ(one.position(), other.position());
    EXPECT_EQ(late.meta.height, now.meta.height);
    EXPECT_EQ(late.meta.width, now.meta.width);
    for (int date = 0; date < 2; ++date) {
      EXPECT_TRUE(at::equal(late.images[date], now.images[date])) << stream;
    }
    EXPECT_TRUE(at::equal(late.targets.at("change").map, now.targets.at("change").map));
  }
}

TEST(CenterCrop, TakesTheMiddle) {
  expect_all(applied("{type = \"CenterCrop\", size = [2, 2]}", sample_of(grid(4, 6))),
             rows({{8, 9}, {14, 15}}));
  const Sample padded = applied("{type = \"CenterCrop\", size = [3, 2], pad_if_needed = true}",
                                sample_of(grid(1, 4)));
  EXPECT_TRUE(at::equal(padded.targets.at("change").map, rows({{1, 2}, {255, 255}, {255, 255}})));
}

TEST(Pad, CanShowThePictureInItsMargin) {
  auto row = [](const std::string& mode) {
    const Sample padded =
        applied("{type = \"Pad\", size = [2, 8], padding_mode = \"" + mode + "\"}",
                sample_of(rows({{1, 2, 3}})));
    EXPECT_TRUE(at::equal(padded.targets.at("before").map.select(0, 0),
                          at::tensor({1, 2, 3, 255, 255, 255, 255, 255}, at::kByte)));
    EXPECT_TRUE(at::equal(padded.images[1].select(0, 0), padded.images[1].select(0, 1)));
    return padded.images[1].select(2, 2).select(0, 0) - 12;
  };
  EXPECT_TRUE(at::equal(row("edge"), at::tensor({1, 2, 3, 3, 3, 3, 3, 3}, at::kByte)));
  EXPECT_TRUE(at::equal(row("reflect"), at::tensor({1, 2, 3, 2, 1, 2, 3, 2}, at::kByte)));
  EXPECT_TRUE(at::equal(row("symmetric"), at::tensor({1, 2, 3, 3, 2, 1, 1, 2}, at::kByte)));
  EXPECT_EQ(applied("{type = \"Pad\", pad_to_square = true}", sample_of(grid(2, 5))).height(), 5);
}

TEST(RandomFlip, EachDirectionHasItsProbability) {
  int flips[3] = {};  // none, horizontal, vertical
  const at::Tensor values = rows({{1, 2}, {3, 4}});
  for (std::uint64_t stream = 0; stream < 400; ++stream) {
    const Sample sample = applied(
        "{type = \"RandomFlip\", prob = [0.5, 0.25], direction = [\"horizontal\", "
        "\"vertical\"]}",
        sample_of(values), stream);
    const int corner = sample.targets.at("change").map[0][0].item<int>();
    ++flips[corner == 1 ? 0 : corner == 2 ? 1 : 2];
  }
  EXPECT_NEAR(flips[0], 100, 27);  // three deviations of a binomial
  EXPECT_NEAR(flips[1], 200, 30);
  EXPECT_NEAR(flips[2], 100, 27);
}

TEST(RandomFlip, ExchangesLeftAndRightLabels) {
  const Sample sample = applied("{type = \"RandomFlip\", prob = 1, swap_seg_labels = [[1, 2]]}",
                                sample_of(rows({{1, 2, 5}})));
  EXPECT_TRUE(at::equal(sample.targets.at("before").map, rows({{5, 1, 2}})));
  EXPECT_TRUE(at::equal(sample.images[0].select(2, 0), rows({{5, 2, 1}})));
  const Sample vertical = applied(
      "{type = \"RandomFlip\", prob = 1, direction = \"vertical\", swap_seg_labels = [[1, 2]]}",
      sample_of(rows({{1, 2, 5}})));
  EXPECT_TRUE(at::equal(vertical.targets.at("before").map, rows({{1, 2, 5}})));
}

TEST(RandomRotate, QuartersAreExactAndClockwise) {
  const at::Tensor values = rows({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}});
  const std::string turn = "{type = \"RandomRotate\", prob = 1, degree = ";
  expect_all(applied(turn + "[90, 90]}", sample_of(values)),
             rows({{7, 4, 1}, {8, 5, 2}, {9, 6, 3}}));
  expect_all(applied(turn + "[-180, -180]}", sample_of(values)),
             rows({{9, 8, 7}, {6, 5, 4}, {3, 2, 1}}));
  // A wide picture turned by 90 degrees: what leaves it is lost, what is new is filled.
  const Sample wide = applied(turn + "[90, 90], pad_val = 77}", sample_of(rows({{1, 2, 3}})));
  EXPECT_TRUE(at::equal(wide.targets.at("change").map, rows({{255, 2, 255}})));
  EXPECT_TRUE(at::equal(wide.images[1].select(2, 0), rows({{77, 12, 77}})));
  expect_all(applied(turn + "[90, 90], auto_bound = true}", sample_of(rows({{1, 2, 3}}))),
             rows({{1}, {2}, {3}}));
  // About the upper left pixel, row 0 goes down column 0.
  const Sample corner = applied(turn + "[90, 90], center = [0, 0]}", sample_of(values));
  EXPECT_TRUE(at::equal(corner.targets.at("change").map,
                        rows({{1, 255, 255}, {2, 255, 255}, {3, 255, 255}})));
}

TEST(RandomRotFlip, IsOneOfEightOrATurnByDegrees) {
  const at::Tensor values = rows({{1, 2}, {3, 4}});
  std::set<std::string> seen;
  for (std::uint64_t stream = 0; stream < 100; ++stream) {
    const Sample sample =
        applied("{type = \"RandomRotFlip\", rotate_prob = 1}", sample_of(values), stream);
    const at::Tensor map = sample.targets.at("change").map.contiguous();
    expect_all(sample, map);
    std::string key;
    for (int k = 0; k < 4; ++k) key += std::to_string(map.view({-1})[k].item<int>());
    seen.insert(key);
  }
  // A flip after any number of quarters: the four mirror images.
  EXPECT_EQ(seen, (std::set<std::string>{"2143", "3412", "1324", "4231"}));
  const Sample turned = applied(
      "{type = \"RandomRotFlip\", rotate_prob = 0, flip_prob = 1, degree = "
      "[90, 90]}",
      sample_of(values));
  expect_all(turned, rows({{3, 1}, {4, 2}}));
}

TEST(RandomAffine, MovesScalesAndShears) {
  const std::string affine = "{type = \"RandomAffine\", prob = 1, interpolation = \"nearest\", ";
  const at::Tensor values = rows({{1, 2, 3}, {4, 5, 6}, {7, 8, 9}});
  // Twice as large about the middle: the new 3 x 3 shows the old places 0.5, 1, 1.5.
  const Sample large = applied(affine + "scale = [2, 2]}", sample_of(values));
  EXPECT_EQ(large.targets.at("change").map[1][1].item<int>(), 5);
  EXPECT_EQ(large.targets.at("change").map.eq(255).sum().item<int>(), 0);
  // Sheared by 45 degrees, the row above the middle moves one to the left, the one below to the
  // right (or the other way round for the other sign).
  const Sample sheared = applied(affine + "shear = [45, 45]}", sample_of(values));
  EXPECT_TRUE(
      at::equal(sheared.targets.at("change").map, rows({{2, 3, 255}, {4, 5, 6}, {255, 7, 8}})));
  expect_all(applied(affine + "rotate = [90, 90]}", sample_of(values)),
             rows({{7, 4, 1}, {8, 5, 2}, {9, 6, 3}}));
  std::set<int> moves;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    const Sample moved = applied(affine + "translate = [0, 0.34]}", sample_of(values), stream);
    const at::Tensor row = moved.targets.at("before").map.select(0, 1);
    const int middle = row[1].item<int>();
    EXPECT_TRUE(middle >= 4 && middle <= 6) << row;
    moves.insert(middle);
  }
  EXPECT_EQ(moves, (std::set<int>{4, 5, 6}));
}

// A bright square on a dark picture and the same square as label: after any turn the middle of one
// lies on the middle of the other.
TEST(RandomAffine, LabelFollowsThePicture) {
  at::Tensor values = at::zeros({61, 81}, at::kByte);
  values.narrow(0, 12, 9).narrow(1, 50, 11).fill_(200);
  double sum[2] = {};
  int count = 0;
  for (std::uint64_t stream = 0; stream < 30; ++stream) {
    for (const char* table :
         {"{type = \"RandomAffine\", prob = 1, rotate = 45, scale = [0.6, 1.4], translate = 0.1, "
          "shear = 15}",
          "{type = \"RandomRotate\", prob = 1, degree = 180, auto_bound = true}"}) {
      const Sample sample = applied(table, sample_of(values), stream);
      const at::Tensor map = sample.targets.at("before").map;
      const at::Tensor label = map.eq(200).to(at::kDouble);
      if (label.sum().item<double>() < 60) continue;  // mostly outside
      for (int date = 0; date < 2; ++date) {
        // Above what the dark ground holds: 0 + 10 date in channel 0, 0 as padding.
        const at::Tensor light =
            (sample.images[date].select(2, 0).to(at::kDouble) - 10 * date).clamp_min(0);
        auto centre = [](const at::Tensor& mass, int axis) {
          const at::Tensor at = at::arange(mass.size(axis), at::kDouble);
          return (mass.sum(1 - axis) * at).sum().item<double>() / mass.sum().item<double>();
        };
        for (int axis = 0; axis < 2; ++axis) {
          // The nearest pixel lies up to half a pixel away on both axes of the old picture: up to
          // sqrt(1/2) on an axis of a turned one. A shift common to all would show in the mean.
          const double apart = centre(light, axis) - centre(label, axis);
          EXPECT_LE(std::abs(apart), std::sqrt(0.5)) << table << stream;
          sum[axis] += apart;
        }
        ++count;
      }
    }
  }
  ASSERT_GE(count, 60);
  for (const double total : sum) EXPECT_LE(std::abs(total / count), 0.05);
}

TEST(Warp, WorksOnMoreThanFourChannels) {
  const at::Tensor image = at::arange(3 * 3 * 6, at::kByte).view({3, 3, 6});
  const at::Tensor moved =
      data::warp(image, {1, 0, 1, 0, 1, 0}, 3, 3, "nearest", {10, 11, 12, 13, 14, 15});
  EXPECT_TRUE(at::equal(moved.narrow(1, 1, 2), image.narrow(1, 0, 2)));
  EXPECT_TRUE(at::equal(moved[2][0], at::tensor({10, 11, 12, 13, 14, 15}, at::kByte)));
}

TEST(Transforms, MistakesInGeometryAreLocated) {
  auto message = [](const std::string& table) {
    return message_of([&] { make<Transform>(table, {specs()}); });
  };
  EXPECT_EQ(message("{type = \"RandomFlip\", prob = [0.5, 0.5]}"),
            "test.toml:1:34: x.prob: has 2 values, direction has 1, got [0.5, 0.5]");
  EXPECT_EQ(message("{type = \"RandomRotate\", degree = [30, 20]}"),
            "test.toml:1:38: x.degree: its lower end is above its upper end, got [30, 20]");
  EXPECT_EQ(message("{type = \"RandomAffine\", shear = 90}"),
            "test.toml:1:37: x.shear: angles are above -90 and below 90 degrees, got 90");
}

}  // namespace
}  // namespace strata::tests
