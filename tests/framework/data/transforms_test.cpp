// Each transform on arrays small enough to work out by hand, and geometry that is the same for
// every date and target.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/data/pixels.hpp"
#include "tests/framework/data/pictures.hpp"

namespace strata::tests {
namespace {

TEST(RandomFlip, MirrorsInEachDirection) {
  const at::Tensor values = rows({{1, 2, 3}, {4, 5, 6}});
  expect_all(applied("{type = \"RandomFlip\", prob = 1}", sample_of(values)),
             rows({{3, 2, 1}, {6, 5, 4}}));
  expect_all(
      applied("{type = \"RandomFlip\", prob = 1, direction = \"vertical\"}", sample_of(values)),
      rows({{4, 5, 6}, {1, 2, 3}}));
  expect_all(
      applied("{type = \"RandomFlip\", prob = 1, direction = [\"diagonal\"]}", sample_of(values)),
      rows({{6, 5, 4}, {3, 2, 1}}));
  expect_all(applied("{type = \"RandomFlip\", prob = 0}", sample_of(values)), values);
}

TEST(RandomRotate90, TurnsByEveryQuarter) {
  const at::Tensor values = rows({{1, 2, 3}, {4, 5, 6}});
  const at::Tensor quarter[3] = {rows({{3, 6}, {2, 5}, {1, 4}}), rows({{6, 5, 4}, {3, 2, 1}}),
                                 rows({{4, 1}, {5, 2}, {6, 3}})};
  std::set<int> seen;
  for (std::uint64_t stream = 0; stream < 40; ++stream) {
    const Sample turned =
        applied("{type = \"RandomRotate90\", prob = 1}", sample_of(values), stream);
    for (int k = 0; k < 3; ++k) {
      if (!at::equal(turned.targets.at("change").map, quarter[k])) continue;
      expect_all(turned, quarter[k]);
      EXPECT_EQ(turned.meta.height, turned.height());
      seen.insert(k);
    }
  }
  EXPECT_EQ(seen.size(), 3U);
}

TEST(Resize, LabelsTakeThePixelUnderTheCentre) {
  const at::Tensor map = rows({{1, 2, 3, 4}, {5, 6, 7, 8}});
  // Centres of two columns lie at 1 and 3 of 4: pixels 1 and 3; of six, at 1/3, 1, 5/3, …
  EXPECT_TRUE(at::equal(data::resize_label(map, 1, 2), rows({{6, 8}})));
  EXPECT_TRUE(
      at::equal(data::resize_label(map, 2, 6), rows({{1, 2, 2, 3, 4, 4}, {5, 6, 6, 7, 8, 8}})));
  EXPECT_TRUE(at::equal(data::resize_label(map, 4, 4),
                        rows({{1, 2, 3, 4}, {1, 2, 3, 4}, {5, 6, 7, 8}, {5, 6, 7, 8}})));
}

TEST(Resize, ImagesAreInterpolated) {
  // Doubling a row [0, 100]: centres at -1/4, 1/4, 3/4, 5/4 of the old pixels.
  const at::Tensor image = at::tensor({0, 100}, at::kByte).view({1, 2, 1});
  EXPECT_TRUE(at::equal(data::resize_image(image, 1, 4, "bilinear").view({-1}),
                        at::tensor({0, 25, 75, 100}, at::kByte)));
  EXPECT_TRUE(at::equal(data::resize_image(image, 1, 4, "nearest").view({-1}),
                        at::tensor({0, 0, 100, 100}, at::kByte)));
}

TEST(Resize, SizesAreHeightThenWidth) {
  const Sample plain = applied("{type = \"Resize\", size = [4, 10]}", sample_of(grid(8, 8)));
  EXPECT_EQ(plain.height(), 4);
  EXPECT_EQ(plain.width(), 10);
  EXPECT_EQ(plain.meta.height, 4);
  EXPECT_EQ(plain.meta.original_height, 8);
  // 6 x 12 into sides of 20 and 4: min(20/12, 4/6) = 2/3, however size is turned.
  for (const char* size : {"[20, 4]", "[4, 20]"}) {
    const Sample kept =
        applied("{type = \"Resize\", keep_ratio = true, size = " + std::string(size) + "}",
                sample_of(grid(6, 12)));
    EXPECT_EQ(kept.height(), 4);
    EXPECT_EQ(kept.width(), 8);
    EXPECT_EQ(kept.targets.at("change").map.sizes(), (at::IntArrayRef{4, 8}));
  }
}

TEST(RandomResize, StaysInItsRange) {
  std::int64_t smallest = 1000, largest = 0;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    const Sample resized =
        applied("{type = \"RandomResize\", size = [40, 80], ratio_range = [0.5, 2.0]}",
                sample_of(grid(20, 40)), stream);
    EXPECT_EQ(resized.width(), resized.targets.at("before").map.size(1));
    EXPECT_NEAR(static_cast<double>(resized.width()), 2.0 * static_cast<double>(resized.height()),
                1.0);
    smallest = std::min(smallest, resized.height());
    largest = std::max(largest, resized.height());
  }
  EXPECT_GE(smallest, 20);
  EXPECT_LE(smallest, 22);
  EXPECT_LE(largest, 80);
  EXPECT_GE(largest, 77);
}

TEST(RandomCrop, CutsTheSameWindowEverywhere) {
  std::set<int> corners;
  for (std::uint64_t stream = 0; stream < 60; ++stream) {
    const Sample cut = applied("{type = \"RandomCrop\", size = [3, 4], cat_max_ratio = 1}",
                               sample_of(grid(4, 6)), stream);
    const int corner = cut.targets.at("change").map[0][0].item<int>();
    const std::int64_t top = corner / 6, left = corner % 6;
    EXPECT_LE(top, 1);
    EXPECT_LE(left, 2);
    expect_all(cut, grid(4, 6).narrow(0, top, 3).narrow(1, left, 4));
    corners.insert(corner);
  }
  EXPECT_EQ(corners.size(), 6U) << "all six windows come up";
}

TEST(RandomCrop, SmallPicturesKeepTheirSideOrArePadded) {
  const Sample kept =
      applied("{type = \"RandomCrop\", size = [3, 9], cat_max_ratio = 1}", sample_of(grid(3, 2)));
  expect_all(kept, grid(3, 2));
  const Sample padded = applied(
      "{type = \"RandomCrop\", size = [4, 3], cat_max_ratio = 1, pad_if_needed = true, pad_val = "
      "[7, 8, 9]}",
      sample_of(grid(3, 2)));
  EXPECT_TRUE(at::equal(padded.targets.at("before").map,
                        rows({{0, 1, 255}, {2, 3, 255}, {4, 5, 255}, {255, 255, 255}})));
  EXPECT_TRUE(
      at::equal(padded.images[0].select(2, 0), rows({{0, 1, 7}, {2, 3, 7}, {4, 5, 7}, {7, 7, 7}})));
  EXPECT_EQ(padded.images[1][3][0][2].item<int>(), 9);
  EXPECT_EQ(padded.meta.height, 3);
  EXPECT_EQ(padded.meta.width, 2);
}

TEST(RandomCrop, AvoidsWindowsOfOneClass) {
  // Class 1 only in the last column of 40, the rest ignored or class 0.
  at::Tensor values = at::zeros({10, 40}, at::kByte);
  values.narrow(1, 36, 4).fill_(1);
  int varied = 0, plain = 0;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    auto both = [](const Sample& cut) {
      const at::Tensor map = cut.targets.at("change").map;
      return map.min().item<int>() == 0 && map.max().item<int>() == 1;
    };
    varied += both(applied("{type = \"RandomCrop\", size = [10, 6], cat_max_ratio = 0.9}",
                           sample_of(values), stream));
    plain += both(applied("{type = \"RandomCrop\", size = [10, 6], cat_max_ratio = 1}",
                          sample_of(values), stream));
  }
  // 5 of 35 windows hold both classes and 5 less than 9/10 of one: 1/7 of plain draws, and of ten
  // draws 1 - (6/7)^10 = 0.786.
  EXPECT_NEAR(plain, 200 / 7.0, 20);
  EXPECT_NEAR(varied, 157, 24);
  // Ignored pixels do not count: with 255 for class 0 no window is varied, and the last is taken.
  at::Tensor ignored = values.clone();
  ignored.masked_fill_(values == 0, 255);
  applied("{type = \"RandomCrop\", size = [10, 6]}", sample_of(ignored));
}

TEST(Pad, FillsBelowAndToTheRight) {
  const Sample padded = applied("{type = \"Pad\", size_divisor = 4}", sample_of(rows({{1, 2, 3}})));
  EXPECT_TRUE(at::equal(
      padded.targets.at("change").map,
      rows({{1, 2, 3, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}, {255, 255, 255, 255}})));
  EXPECT_TRUE(at::equal(padded.images[1].select(2, 1),
                        rows({{12, 13, 14, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}})));
  EXPECT_EQ(padded.meta.height, 1);
  EXPECT_EQ(padded.meta.width, 3);
  const Sample sized = applied("{type = \"Pad\", size = [2, 2]}", sample_of(rows({{1, 2, 3}})));
  EXPECT_EQ(sized.height(), 2);
  EXPECT_EQ(sized.width(), 3);
}

TEST(Normalize, SubtractsAndDivides) {
  const Sample done =
      applied("{type = \"Normalize\", mean = [1, 2, 3], std = [2, 4, 5]}", sample_of(rows({{5}})));
  EXPECT_TRUE(at::equal(done.images[0].view({-1}), at::tensor({2.0F, 1.0F, 0.8F})));
  EXPECT_EQ(message_of([] {
              applied("{type = \"Normalize\", mean = [1], std = [2]}", sample_of(rows({{5}})));
            }),
            "picture.png: has 3 channels, but Normalize has means for 1");
  // Whole vectors and what is left beside them give what each value gives.
  const at::Tensor values = grid(3, 201);
  const Sample wide = applied(
      "{type = \"Normalize\", mean = [123.675, 116.28, 103.53], std = [58.395, 57.12, 57.375]}",
      sample_of(values));
  const at::Tensor want = (sample_of(values).images[1].to(at::kFloat) -
                           at::tensor({123.675F, 116.28F, 103.53F})) /
                          at::tensor({58.395F, 57.12F, 57.375F});
  EXPECT_TRUE(at::equal(wide.images[1], want));
}

TEST(Transforms, KeepGeometryEqualForAnyChain) {
  for (std::uint64_t stream = 0; stream < 50; ++stream) {
    Sample sample = sample_of(grid(13, 17));
    Philox random(seed(), stream);
    for (const char* table :
         {"{type = \"RandomResize\", size = [20, 20], interpolation = \"nearest\"}",
          "{type = \"RandomCrop\", size = [9, 8], cat_max_ratio = 0.75}",
          "{type = \"RandomRotate90\"}",
          "{type = \"RandomFlip\", direction = [\"horizontal\", \"vertical\"]}",
          "{type = \"Pad\", size_divisor = 8, pad_val = 255}"}) {
      make<Transform>(table, {specs()})->apply(sample, random);
    }
    const at::Tensor map = sample.targets.at("before").map;
    const at::Tensor inside = map != 255;
    EXPECT_TRUE(at::equal(map, sample.targets.at("change").map));
    for (std::int64_t date = 0; date < 2; ++date) {
      EXPECT_TRUE(at::equal(sample.images[date].select(2, 0).masked_select(inside),
                            (map + 10 * date).to(at::kByte).masked_select(inside)));
    }
    EXPECT_EQ(sample.height() % 8, 0);
  }
}

TEST(Transforms, MistakesInOptionsAreLocated) {
  auto message = [](const std::string& table) {
    return message_of([&] { make<Transform>(table, {specs()}); });
  };
  EXPECT_EQ(message("{type = \"Pad\"}"),
            "test.toml:1:5: x: pads nothing; set size, size_divisor or pad_to_square");
  EXPECT_EQ(message("{type = \"RandomResize\", size = [1, 2], ratio_range = [2, 1]}"),
            "test.toml:1:58: x.ratio_range: its lower end is above its upper end, got [2, 1]");
  EXPECT_EQ(
      message("{type = \"RandomCrop\", size = [1, 2], target = \"chang\"}"),
      "test.toml:1:51: x.target: no such label is declared (there are \"before\", \"change\"), "
      "got \"chang\"; did you mean \"change\"?");
}

}  // namespace
}  // namespace strata::tests
