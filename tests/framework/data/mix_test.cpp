// Transforms that join samples, act on what dates and targets mean, or choose others; and what
// holds for every transform that is registered.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/framework/data/pictures.hpp"

namespace strata::tests {
namespace {

Sample mixed(const Transform& transform, Sample sample, std::uint64_t stream = 0) {
  Philox random(seed(), stream);
  int next = 10;
  transform.mix(sample, random, [&next] { return sample_of(at::full({4, 4}, next++)); });
  return sample;
}

TEST(RandomCutOut, FillsTheSameHolesEverywhere) {
  std::set<std::int64_t> areas;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    const Sample sample = applied(
        "{type = \"RandomCutOut\", prob = 1, cutout_shape = [2, 3], fill_in = 255, "
        "seg_fill_in = 255}",
        sample_of(at::zeros({5, 6})), stream);
    const at::Tensor hole = sample.targets.at("before").map == 255;
    areas.insert(hole.sum().item<std::int64_t>());
    EXPECT_TRUE(at::equal(hole, sample.targets.at("change").map == 255));
    for (const at::Tensor& image : sample.images) {
      for (int c = 0; c < 3; ++c) EXPECT_TRUE(at::equal(image.select(2, c) == 255, hole));
    }
  }
  EXPECT_EQ(areas, (std::set<std::int64_t>{1, 2, 3, 4, 6})) << "cut at the edges";
  const Sample kept = applied(
      "{type = \"RandomCutOut\", prob = 1, cutout_ratio = [1, 1], n_holes = [3, 5], fill_in = [1, "
      "2, "
      "3]}",
      sample_of(grid(4, 4)));
  EXPECT_TRUE(at::equal(kept.targets.at("change").map, grid(4, 4))) << "labels stay";
  EXPECT_TRUE(at::equal(kept.images[1][3][3], at::tensor({1, 2, 3}, at::kByte)));
  EXPECT_EQ(message_of([] {
              make<Transform>("{type = \"RandomCutOut\", cutout_shape = [1, 1], seg_fill_in = 252}",
                              {specs()});
            }),
            "test.toml:1:66: x.seg_fill_in: must be a class of label \"before\" or its "
            "ignore_index, got 252");
}

TEST(RandomMosaic, PutsFourAroundTheMiddle) {
  const auto mosaic = make<Transform>(
      "{type = \"RandomMosaic\", prob = 1, size = [3, 3], center_ratio_range = [1, 1], pad_val = "
      "9}",
      {specs()});
  // The first is 1 x 3 and fits as it is, above the middle line; the others fill their quarters.
  const Sample sample = mixed(*mosaic, sample_of(rows({{1, 2, 3}})));
  const at::Tensor want = rows({{255, 255, 255, 10, 10, 10},
                                {255, 255, 255, 10, 10, 10},
                                {1, 2, 3, 10, 10, 10},
                                {11, 11, 11, 12, 12, 12},
                                {11, 11, 11, 12, 12, 12},
                                {11, 11, 11, 12, 12, 12}});
  for (const auto& [name, target] : sample.targets) EXPECT_TRUE(at::equal(target.map, want));
  for (int date = 0; date < 2; ++date) {
    const at::Tensor red =
        at::where(want == 255, at::tensor(9, at::kByte), (want + 10 * date).to(at::kByte));
    EXPECT_TRUE(at::equal(sample.images[date].select(2, 0), red)) << sample.images[date];
  }
  EXPECT_EQ(sample.meta.height, 6);
  // What is seen in four pictures: tags by their rank, each once.
  Sample tagged = sample_of(rows({{1, 2, 3}}));
  tagged.meta.tags = {{"lake", "forest"}, {}};
  Philox random(seed());
  int next = 0;
  mosaic->mix(tagged, random, [&next] {
    Sample other = sample_of(grid(3, 3));
    if (++next > 1) other.meta.tags = {{"bridge", "lake"}, {"road"}};
    return other;
  });
  const std::vector<std::vector<std::string>> expected = {{"lake", "bridge", "forest"}, {"road"}};
  EXPECT_EQ(tagged.meta.tags, expected);
  // Wherever the middle lies, all is picture or padding and nothing is written outside.
  for (std::uint64_t stream = 0; stream < 20; ++stream) {
    const Sample any = mixed(*make<Transform>("{type = \"RandomMosaic\", prob = 1, size = [5, 7], "
                                              "center_ratio_range = [0, 2]}",
                                              {specs()}),
                             sample_of(grid(3, 8)), stream);
    EXPECT_EQ(any.height(), 10);
    EXPECT_EQ(any.width(), 14);
    const at::Tensor map = any.targets.at("change").map;
    EXPECT_TRUE(any.images[0].select(2, 0).masked_select(map != 255).lt(30).all().item<bool>());
  }
}

TEST(RandomDepthMix, ShowsTheLastChannelInAStrip) {
  // Channel c of date 0 is value + c: the third, value + 2, stands for depth.
  const Sample source = sample_of(grid(4, 40));
  std::set<std::int64_t> widths;
  for (std::uint64_t stream = 0; stream < 60; ++stream) {
    const Sample mixed = applied(
        "{type = \"RandomDepthMix\", prob = 1, mix_scale_ratio = 0.5, depth_rescale_factor = 2}",
        source, stream);
    const at::Tensor image = mixed.images[0];
    ASSERT_EQ(image.sizes(), (at::IntArrayRef{4, 40, 2}));
    const at::Tensor depth = (grid(4, 40) + 2).to(at::kByte).floor_divide(2);
    const at::Tensor shows = (image.select(2, 0) == depth).all(0);
    const at::Tensor same = (image.select(2, 0) == source.images[0].select(2, 0)).all(0);
    EXPECT_TRUE(at::equal(shows, (image.select(2, 1) == depth).all(0)));
    EXPECT_TRUE(at::equal(shows, same.logical_not()));
    const at::Tensor columns = shows.nonzero().view({-1});
    const std::int64_t first = columns[0].item<std::int64_t>();
    EXPECT_EQ(columns[-1].item<std::int64_t>() - first + 1, columns.numel()) << "one strip";
    EXPECT_LE(columns.numel(), std::max<std::int64_t>(1, (40 - first) / 2));
    widths.insert(columns.numel());
    EXPECT_TRUE(at::equal(mixed.targets.at("change").map, source.targets.at("change").map));
  }
  EXPECT_GT(widths.size(), 5U);
  const Sample kept = applied("{type = \"RandomDepthMix\", prob = 0, keep_depth = true}", source);
  EXPECT_TRUE(at::equal(kept.images[1], source.images[1]));
  Sample grey = sample_of(rows({{1, 2}}));
  grey.images[0] = grey.images[0].narrow(2, 0, 1);
  EXPECT_EQ(message_of([&] { applied("{type = \"RandomDepthMix\"}", grey); }),
            "picture.png: has 1 channel, but RandomDepthMix takes the depth from the last of "
            "several; add it to the picture and set color_type = \"unchanged\"");
}

TEST(ExchangeTime, SwapsPicturesAndTheLabelsOfDates) {
  LabelSpec before = label_spec("before", 250), after = label_spec("after", 250);
  after.date = 1;
  const LabelSpecs both = label_specs({before, after, label_spec("change", 250, "change")});
  Sample sample = sample_of(rows({{1, 2}}));
  sample.meta.paths = {"a.png", "b.png"};
  sample.meta.tags = {{"forest", "lake"}, {}};
  sample.targets["before"] = {rows({{3, 4}}), both.find("before")};
  sample.targets["after"] = {rows({{5, 6}}), both.find("after")};
  Philox random(seed());
  make<Transform>("{type = \"ExchangeTime\", prob = 1}", {both})->apply(sample, random);
  EXPECT_EQ(sample.images[0][0][0][0].item<int>(), 11);
  EXPECT_EQ(sample.images[1][0][0][0].item<int>(), 1);
  EXPECT_EQ(sample.meta.paths, (std::vector<std::string>{"b.png", "a.png"}));
  EXPECT_EQ(sample.meta.tags, (std::vector<std::vector<std::string>>{{}, {"forest", "lake"}}));
  EXPECT_TRUE(at::equal(sample.targets.at("before").map, rows({{5, 6}})));
  EXPECT_TRUE(at::equal(sample.targets.at("after").map, rows({{3, 4}})));
  EXPECT_TRUE(at::equal(sample.targets.at("change").map, rows({{1, 2}})));
  EXPECT_EQ(sample.targets.at("before").spec->name, "before");
  EXPECT_EQ(
      message_of([] { applied("{type = \"ExchangeTime\", prob = 1}", sample_of(rows({{1}}))); }),
      "picture.png: label \"before\" of date 0 has no partner of the same classes at date 1, so "
      "the dates cannot be exchanged; declare one, or take ExchangeTime out of the transforms");
}

TEST(GenerateEdge, DrawsWhereClassesMeet) {
  const LabelSpecs labels = label_specs({label_spec("land", 3), label_spec("edge", 2)});
  Sample sample = sample_of(rows({{0, 0, 0, 0}, {0, 0, 0, 0}}));
  sample.targets.clear();
  sample.targets["land"] = {rows({{0, 0, 1, 1, 255, 2}, {0, 0, 1, 1, 255, 2}}),
                            labels.find("land")};
  Philox random(seed());
  const auto thin =
      make<Transform>("{type = \"GenerateEdge\", edge = \"edge\", edge_width = 1}", {labels});
  thin->apply(sample, random);
  // A pixel is marked for its right neighbour; the diagonals mark both sides. Ignored pixels and
  // what lies beside them are no edge.
  EXPECT_TRUE(
      at::equal(sample.targets.at("edge").map, rows({{0, 1, 1, 0, 0, 0}, {0, 1, 0, 0, 0, 0}})));
  EXPECT_EQ(sample.targets.at("edge").spec->name, "edge");
  const auto wide = make<Transform>("{type = \"GenerateEdge\", edge = \"edge\"}", {labels});
  wide->apply(sample, random);
  EXPECT_TRUE(
      at::equal(sample.targets.at("edge").map, rows({{1, 1, 1, 1, 0, 0}, {1, 1, 1, 1, 0, 0}})));
  EXPECT_EQ(
      message_of([&] { make<Transform>("{type = \"GenerateEdge\", edge = \"land\"}", {labels}); }),
      "test.toml:1:36: x.edge: label \"land\" has 3 classes, an edge map has 2, got \"land\"");
}

TEST(RandomApply, RunsAllOrNothing) {
  const auto both = make<Transform>(
      "{type = \"RandomApply\", prob = 0.4, transforms = [{type = \"RandomFlip\", prob = 1}, {type "
      "= "
      "\"Pad\", size = [1, 3]}]}",
      {specs()});
  int acted = 0;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    const at::Tensor map = mixed(*both, sample_of(rows({{1, 2}})), stream).targets.at("change").map;
    const bool act = at::equal(map, rows({{2, 1, 255}}));
    EXPECT_TRUE(act || at::equal(map, rows({{1, 2}})));
    acted += act;
  }
  EXPECT_NEAR(acted, 80, 21);  // three deviations
}

TEST(RandomChoice, TakesListsByWeight) {
  const auto choice = make<Transform>(
      "{type = \"RandomChoice\", prob = [3, 1, 0], transforms = [[], [{type = \"RandomFlip\", prob "
      "= "
      "1}], [{type = \"Pad\", size = [9, 9]}]]}",
      {specs()});
  int flipped = 0;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    const at::Tensor map =
        mixed(*choice, sample_of(rows({{1, 2}})), stream).targets.at("change").map;
    flipped += at::equal(map, rows({{2, 1}}));
  }
  EXPECT_NEAR(flipped, 50, 19);
  // What is inside is built, and refused, where it stands.
  EXPECT_EQ(message_of([] {
              make<Transform>("{type = \"RandomChoice\", transforms = [[{type = \"Pad\"}]]}",
                              {specs()});
            }),
            "test.toml:1:44: x.transforms.0.0: pads nothing; set size, size_divisor or "
            "pad_to_square");
}

TEST(PseudoPair, MakesTwoDatesOfTwoPicturesOrOfOne) {
  LabelSpec before = label_spec("before", 7), after = label_spec("after", 7);
  after.date = 1;
  const LabelSpecs labels = label_specs({before, after, label_spec("change", 2, "change")});
  const auto one = [&](const at::Tensor& map, const std::string& path) {
    Sample sample = sample_of(map);
    sample.images.resize(1);
    sample.meta.paths = {path};
    sample.meta.tags = {{path}};
    sample.targets = {{"before", {map, labels.find("before")}}};
    return sample;
  };
  const Sample first = one(rows({{1, 2, 3, 255}}), "a.png");
  const Sample second = one(rows({{1, 3, 255, 0}}), "b.png");
  const auto drawn = [&](const std::string& options, std::uint64_t stream = 0) {
    Sample sample = first;
    Philox random(seed(), stream);
    make<Transform>("{type = \"PseudoPair\"" + options + "}", {labels})->mix(sample, random, [&] {
      return second;
    });
    return sample;
  };
  Sample pair = drawn(", prob = 1");
  ASSERT_EQ(pair.images.size(), 2U);
  EXPECT_TRUE(at::equal(pair.images[0], first.images[0]));
  EXPECT_TRUE(at::equal(pair.images[1], second.images[0]));
  EXPECT_EQ(pair.meta.paths, (std::vector<std::string>{"a.png", "b.png"}));
  EXPECT_EQ(pair.meta.tags, (std::vector<std::vector<std::string>>{{"a.png"}, {"b.png"}}));
  EXPECT_TRUE(at::equal(pair.targets.at("before").map, rows({{1, 2, 3, 255}})));
  EXPECT_TRUE(at::equal(pair.targets.at("after").map, rows({{1, 3, 255, 0}})));
  EXPECT_EQ(pair.targets.at("after").spec->date, 1);
  EXPECT_TRUE(at::equal(pair.targets.at("change").map, rows({{0, 1, 255, 255}})));
  pair = drawn(", prob = 0");
  EXPECT_TRUE(at::equal(pair.images[1], first.images[0]));
  EXPECT_TRUE(at::equal(pair.targets.at("change").map, rows({{0, 0, 0, 255}})));
  int others = 0;
  for (std::uint64_t stream = 0; stream < 200; ++stream) {
    others += drawn("", stream).meta.paths[1] == "b.png";
  }
  EXPECT_NEAR(others, 100, 29);  // 4 standard deviations

  Sample small = first;
  Philox random(seed());
  EXPECT_EQ(
      message_of([&] {
        make<Transform>("{type = \"PseudoPair\", prob = 1}", {labels})->mix(small, random, [&] {
          return one(rows({{1}}), "c.png");
        });
      }),
      "c.png: has another size than a.png, so they cannot be paired; put a crop or resize in "
      "front of PseudoPair");
  EXPECT_EQ(
      message_of([&] {
        make<Transform>("{type = \"PseudoPair\"}",
                        {label_specs({before, label_spec("change", 2, "change")})});
      }),
      "test.toml:1:5: x.targets: two semantic labels are needed, one of each date, there are 1");
}

// The shortest options of every transform that has required ones, acting always.
std::string table_of(const std::string& name) {
  static const std::map<std::string, std::string> more = {
      {"CenterCrop", "size = [7, 6]"},
      {"GenerateEdge", "edge = \"edge\""},
      {"HueSaturationValue", "prob = 1"},
      {"GaussNoise", "prob = 1"},
      {"GaussianBlur", "prob = 1"},
      {"MotionBlur", "prob = 1"},
      {"ExchangeTime", "prob = 1"},
      {"Normalize", "mean = [1, 2, 3], std = [4, 5, 6]"},
      {"Pad", "size = [30, 40]"},
      {"RandomAffine", "prob = 1, rotate = 30, scale = [0.8, 1.2]"},
      {"RandomApply", "prob = 1, transforms = [{type = \"RandomFlip\"}]"},
      {"RandomBrightnessContrast", "prob = 1"},
      {"RandomChoice",
       "transforms = [[{type = \"RandomFlip\"}], [{type = \"PhotoMetricDistortion\"}]]"},
      {"RandomChoiceResize", "sizes = [[7, 7], [30, 30]]"},
      {"RandomCrop", "size = [7, 6]"},
      {"RandomCutOut", "prob = 1, cutout_shape = [3, 3], seg_fill_in = 255"},
      {"RandomFlip", "prob = 1"},
      {"RandomGamma", "prob = 1"},
      {"RandomGrayscale", "prob = 1"},
      {"RandomMosaic", "prob = 1, size = [9, 9]"},
      {"RandomResize", "size = [20, 20]"},
      {"RandomRotate", "prob = 1, degree = 90"},
      {"RandomRotate90", "prob = 1"},
      {"RandomRotFlip", "rotate_prob = 0, flip_prob = 1"},
      {"Resize", "size = [9, 11]"},
      {"ResizeShortestEdge", "size = 10"}};
  const auto found = more.find(name);
  return "{type = \"" + name + "\"" + (found == more.end() ? "" : ", " + found->second) + "}";
}

// A kept sample (data.cache) is what the next draw begins with.
TEST(EveryTransform, LeavesItsSourceAloneAndFollowsFromTheDraw) {
  LabelSpec before = label_spec("before", 250), after = label_spec("after", 250);
  after.date = 1;
  const LabelSpecs labels =
      label_specs({before, after, label_spec("change", 250, "change"), label_spec("edge", 2)});
  Sample source = sample_of(grid(13, 17));
  source.targets["after"] = {grid(13, 17).clone(), labels.find("after")};
  for (auto& [name, target] : source.targets) target.spec = labels.find(name);
  auto copy_of = [](const Sample& sample) {
    Sample copy = sample;
    for (at::Tensor& image : copy.images) image = image.clone();
    for (auto& [name, target] : copy.targets) target.map = target.map.clone();
    return copy;
  };
  auto expect_equal = [](const Sample& a, const Sample& b) {
    for (std::size_t i = 0; i < a.images.size(); ++i) {
      EXPECT_TRUE(at::equal(a.images[i], b.images[i]));
    }
    ASSERT_EQ(a.targets.size(), b.targets.size());
    for (const auto& [name, target] : a.targets) {
      EXPECT_TRUE(at::equal(target.map, b.targets.at(name).map));
    }
  };
  for (const std::string& name : builtin_registry().names("transform")) {
    SCOPED_TRACE(name);
    const auto transform = make<Transform>(table_of(name), {labels});
    for (std::uint64_t stream = 0; stream < 8; ++stream) {
      const Sample untouched = copy_of(source);
      auto run = [&](std::uint64_t number) {
        Sample sample = source;
        Philox random(seed(), number);
        run_transforms({transform}, sample, random, [&] { return source; });
        settle(sample);
        return sample;
      };
      const Sample first = run(stream), second = run(stream);
      expect_equal(source, untouched);
      expect_equal(first, second);
      for (const auto& [target, map] : first.targets) {
        EXPECT_EQ(map.map.size(0), first.height());
        EXPECT_EQ(map.map.size(1), first.width());
        EXPECT_EQ(map.map.scalar_type(), at::kByte);
      }
      for (const at::Tensor& image : first.images) EXPECT_EQ(image.stride(1), image.size(2));
    }
  }
}

}  // namespace
}  // namespace strata::tests
