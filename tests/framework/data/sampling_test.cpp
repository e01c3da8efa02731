// Data sets made of others, samplers, and the cache of decoded samples.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "framework/base/files.hpp"
#include "framework/data/cache.hpp"
#include "framework/data/loader.hpp"
#include "framework/io/image.hpp"
#include "tests/framework/data/support.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

// `count` pictures "0".."count - 1" of 2 x 3 pixels; sample i shows value i, and its label holds
// class min(i, 2).
class Folder {
 public:
  explicit Folder(int count) {
    for (int i = 0; i < count; ++i) add(i, std::min(i, 2));
  }
  void add(int i, int label) {
    const std::string file = std::to_string(i) + ".png";
    io::write_png(dir_ / ("images/" + file), at::full({2, 3, 3}, i, at::kByte));
    io::write_png(dir_ / ("labels/" + file), at::full({2, 3}, label, at::kByte));
  }
  std::string table(const std::string& more = "") const {
    return "{type = \"SegmentationFolder\", image_dir = \"" + dir_.path() +
           "/images\", label_dir = \"" + dir_.path() + "/labels\"" + more + "}";
  }
  std::string path(const std::string& name) const { return dir_ / name; }

 private:
  TempDir dir_;
};

Dataset::Context context(std::size_t classes = 3) {
  return {label_specs({label_spec("semantic", classes)}), true, 1};
}

std::vector<int> values_of(const Dataset& dataset) {
  std::vector<int> values;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const Sample sample = dataset.read(i);
    values.push_back(sample.images[0][0][0][0].item<int>());
    EXPECT_EQ(dataset.read_targets(i).at("semantic").map[0][0].item<int>(),
              sample.targets.at("semantic").map[0][0].item<int>());
    EXPECT_NE(dataset.target_state(i), "");
  }
  return values;
}

using Values = std::vector<int>;

TEST(RepeatDataset, GoesRoundAndRound) {
  const Folder folder(3);
  const auto repeated = make<Dataset>(
      "{type = \"RepeatDataset\", times = 2, dataset = " + folder.table() + "}", context());
  EXPECT_EQ(values_of(*repeated), (Values{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(repeated->name(4), "1");
}

TEST(ConcatDataset, JoinsAndKeepsNamesApart) {
  const Folder a(2), b(3);
  auto joined = [&](const std::string& second) {
    return make<Dataset>(
        "{type = \"ConcatDataset\", datasets = [" + a.table() + ", " + second + "]}", context());
  };
  const auto both = joined(b.table());
  EXPECT_EQ(values_of(*both), (Values{0, 1, 0, 1, 2}));
  EXPECT_EQ(both->name(3), "1/1") << "two files are called 1";
  EXPECT_EQ(both->read(3).meta.name, "1/1");
  const auto apart =
      joined("{type = \"SubsetDataset\", indices = [2], dataset = " + b.table() + "}");
  EXPECT_EQ(values_of(*apart), (Values{0, 1, 2}));
  EXPECT_EQ(apart->name(2), "2") << "no two are of one name";
}

TEST(SubsetDataset, TakesAPartInEachWay) {
  const Folder folder(10);
  auto part = [&](const std::string& how) {
    return values_of(*make<Dataset>(
        "{type = \"SubsetDataset\", " + how + ", dataset = " + folder.table() + "}", context()));
  };
  EXPECT_EQ(part("indices = [7, 1, 7]"), (Values{7, 1, 7}));
  EXPECT_EQ(part("first = 3"), (Values{0, 1, 2}));
  EXPECT_EQ(part("every_nth = 4"), (Values{0, 4, 8}));
  EXPECT_EQ(part("every_nth = 4, offset = 3"), (Values{3, 7}));
  const Values some = part("fraction = 0.3"), more = part("fraction = 0.6");
  EXPECT_EQ(some.size(), 3U);
  EXPECT_TRUE(std::includes(more.begin(), more.end(), some.begin(), some.end()));
  EXPECT_EQ(part("fraction = 0.3"), some);
  EXPECT_NE(part("fraction = 0.6, seed = 1"), more);
  EXPECT_EQ(part("fraction = 0.01").size(), 1U);
  EXPECT_EQ(part("fraction = 1").size(), 10U);

  auto message = [&](const std::string& how) {
    return message_of([&] {
      make<Dataset>("{type = \"SubsetDataset\"" + how + ", dataset = " + folder.table() + "}",
                    context());
    });
  };
  EXPECT_EQ(message(""), "test.toml:1:5: x: needs one of indices, first, fraction and every_nth");
  EXPECT_EQ(message(", first = 2, every_nth = 2"),
            "test.toml:1:5: x: takes one of indices, first, fraction and every_nth, not several");
  EXPECT_EQ(message(", first = 11"),
            "test.toml:1:38: x.first: the data set has 10 samples, got 11");
  EXPECT_EQ(message(", indices = [10]"),
            "test.toml:1:40: x.indices: the data set has 10 samples, got [10]");
}

TEST(FileClasses, AreFoundByNameAndTheRestIsIgnored) {
  Folder folder(0);
  for (int i = 0; i < 4; ++i) folder.add(i, i);
  const LabelSpecs labels = [] {
    LabelSpec spec = label_spec("semantic", 2);
    spec.classes = {"tree", "road"};
    return label_specs({spec});
  }();
  auto classes = [&](const std::string& more) {
    const auto dataset = make<Dataset>(folder.table(more), {labels, true, 1});
    Values all;
    for (std::int64_t i = 0; i < 4; ++i) {
      all.push_back(dataset->read(i).targets.at("semantic").map[1][2].item<int>());
    }
    return all;
  };
  EXPECT_EQ(classes(", file_classes = [\"road\", \"sky\", \"tree\", \"car\"]"),
            (Values{1, 255, 0, 255}));
  EXPECT_EQ(classes(", reduce_zero_label = true, file_classes = [\"road\", \"sky\", \"tree\"]"),
            (Values{255, 1, 255, 0}));
  auto end_of = [&](const std::string& more) {
    const std::string text = message_of([&] { classes(more); });
    return text.substr(text.find("x.file_classes"));
  };
  EXPECT_EQ(end_of(", file_classes = [\"road\", \"trees\"]"),
            "x.file_classes: does not hold class \"tree\" of label \"semantic\", got [\"road\", "
            "\"trees\"]");
  EXPECT_EQ(
      end_of(", label_map = {3 = 1}, file_classes = [\"road\", \"tree\"]"),
      "x.file_classes: does not go with label_map; set one of them, got [\"road\", \"tree\"]");
}

Values drawn(Sampler& sampler, std::int64_t count) {
  Values all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(static_cast<int>(sampler.index(i)));
  return all;
}

std::shared_ptr<Sampler> sampler(const std::string& table, const Folder& folder,
                                 std::size_t classes = 3) {
  const Dataset::Context with = context(classes);
  return make<Sampler>(table, {make<Dataset>(folder.table(), with), with.labels, seed()});
}

TEST(InfiniteSampler, ShufflesOrCycles) {
  const Folder folder(4);
  EXPECT_EQ(drawn(*sampler("{type = \"InfiniteSampler\", shuffle = false}", folder), 6),
            (Values{0, 1, 2, 3, 0, 1}));
  EXPECT_EQ(drawn(*sampler("{type = \"InfiniteSampler\"}", folder), 12),
            drawn(*make_shuffled_sampler(4, seed()), 12));
}

TEST(WeightedSampler, DrawsInProportion) {
  const Folder folder(4);
  write_file(folder.path("w.txt"), "# name weight\n0 1\n1\t3\n\n3 4\n");
  const std::string table = "{type = \"WeightedSampler\", file = \"" + folder.path("w.txt") + "\"";
  const auto weighted = sampler(table + ", default_weight = 0}", folder);
  const Values all = drawn(*weighted, 4000);
  // Three deviations of a binomial: 3 sqrt(4000 p (1 - p)).
  EXPECT_NEAR(std::count(all.begin(), all.end(), 0), 500, 63);
  EXPECT_NEAR(std::count(all.begin(), all.end(), 1), 1500, 92);
  EXPECT_EQ(std::count(all.begin(), all.end(), 2), 0);
  // Any draw again, by another sampler, in any order.
  const auto again = sampler(table + ", default_weight = 0}", folder);
  for (const std::int64_t draw : {3999, 17, 0}) {
    EXPECT_EQ(again->index(draw), all[static_cast<std::size_t>(draw)]);
  }
  EXPECT_FALSE(weighted->draws().has_value());

  EXPECT_EQ(message_of([&] { sampler(table + "}", folder); }),
            folder.path("w.txt") +
                ": has no weight for 1 of 4 samples, such as \"2\"; add them or "
                "set default_weight");
  write_file(folder.path("w.txt"), "0 1\n1 -2\n");
  EXPECT_EQ(message_of([&] { sampler(table + "}", folder); }),
            folder.path("w.txt") +
                ":2: expected a sample's name and a weight of 0 or more, got "
                "\"1 -2\"");
  write_file(folder.path("w.txt"), "0.png 1\n");
  EXPECT_EQ(message_of([&] { sampler(table + ", default_weight = 1}", folder); }),
            folder.path("w.txt") +
                ": names no sample of the data set, got \"0.png\"; names have "
                "no ending, such as \"0\"");
}

TEST(ClassBalancedSampler, DrawsEachClassEquallyOften) {
  // Ten samples: one of class 0, one of class 1, eight of class 2.
  const Folder folder(10);
  const auto balanced = sampler("{type = \"ClassBalancedSampler\"}", folder);
  const Values all = drawn(*balanced, 3000);
  EXPECT_NEAR(std::count(all.begin(), all.end(), 0), 1000, 78);  // three deviations
  EXPECT_NEAR(std::count(all.begin(), all.end(), 1), 1000, 78);
  for (int i = 2; i < 10; ++i) EXPECT_NEAR(std::count(all.begin(), all.end(), i), 125, 33) << i;
  // exp(-share / T): shares 0.1, 0.1, 0.8 at T = 0.5 weigh 0.8187, 0.8187, 0.2019.
  const Values warm =
      drawn(*sampler("{type = \"ClassBalancedSampler\", temperature = 0.5}", folder), 3000);
  EXPECT_NEAR(std::count(warm.begin(), warm.end(), 0), 3000 * 0.8187 / 1.8393, 82);
  // A class that no sample holds is not drawn.
  EXPECT_EQ(drawn(*sampler("{type = \"ClassBalancedSampler\"}", folder, 4), 50),
            drawn(*balanced, 50));
  EXPECT_EQ(
      message_of([&] { sampler("{type = \"ClassBalancedSampler\", min_pixels = 7}", folder); }),
      "test.toml:1:50: x.min_pixels: no sample holds that many pixels of any class of label "
      "\"semantic\", got 7");
}

TEST(ClassBalancedSampler, KeepsItsCountsUntilLabelsChange) {
  Folder folder(6);
  const std::string cache = folder.path("counts.json");
  const std::string table = "{type = \"ClassBalancedSampler\", cache = \"" + cache + "\"}";
  const Values first = drawn(*sampler(table, folder), 60);
  const std::string written = read_text(cache);
  EXPECT_EQ(drawn(*sampler(table, folder), 60), first);
  EXPECT_EQ(read_text(cache), written);
  folder.add(5, 0);
  const Values other = drawn(*sampler(table, folder), 60);
  EXPECT_NE(read_text(cache), written) << "counted again";
  EXPECT_NE(other, first);
}

// Counts what is read; pictures are larger than what is kept beside them.
class CountingDataset final : public Dataset {
 public:
  std::int64_t size() const override { return 8; }
  std::string name(std::int64_t index) const override { return std::to_string(index); }
  Sample read(std::int64_t index) const override {
    ++reads[static_cast<std::size_t>(index)];
    Sample sample;
    sample.images = {at::full({100, 100, 3}, index, at::kByte)};
    sample.targets["semantic"] = {at::full({100, 100}, index % 3, at::kByte),
                                  labels_.find("semantic")};
    sample.meta.paths = {name(index)};
    sample.meta.height = sample.meta.width = 100;
    return sample;
  }
  mutable std::array<std::atomic<int>, 8> reads{};

 private:
  LabelSpecs labels_ = label_specs({label_spec("semantic", 3)});
};

TEST(Cache, KeepsWhatItHasRoomFor) {
  const auto counted = std::make_shared<CountingDataset>();
  const auto budget = std::make_shared<MemoryBudget>(3 * 43000 + 100);  // 40,000 bytes a sample
  {
    const auto cached = make_cached(counted, budget);
    for (int pass = 0; pass < 3; ++pass) {
      for (std::int64_t i = 0; i < 8; ++i) {
        EXPECT_EQ(cached->read(i).images[0][50][50][1].item<int>(), i);
      }
    }
    for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(counted->reads[i], i < 3 ? 1 : 3) << i;
    EXPECT_GE(budget->left(), 0);
    EXPECT_LT(budget->left(), 40000);
    // What another data set takes comes out of the same budget.
    const auto other = std::make_shared<CountingDataset>();
    make_cached(other, budget)->read(0);
    EXPECT_LT(budget->left(), 40000);
  }
  EXPECT_EQ(budget->left(), 3 * 43000 + 100) << "given back";
  EXPECT_EQ(make_cached(counted, std::make_shared<MemoryBudget>(0)), counted);
}

TEST(Cache, ChangesNoBatch) {
  const Transform::Context labels{label_specs({label_spec("semantic", 3)})};
  auto batches = [&](std::int64_t bytes, std::int64_t workers) {
    std::vector<std::shared_ptr<const Transform>> transforms = {
        make<Transform>("{type = \"RandomCrop\", size = [60, 60], cat_max_ratio = 1}", labels),
        make<Transform>("{type = \"RandomMosaic\", prob = 0.5, size = [40, 40]}", labels),
        make<Transform>("{type = \"RandomCutOut\", cutout_shape = [9, 9], seg_fill_in = 255}",
                        labels),
        make<Transform>("{type = \"PhotoMetricDistortion\"}", labels)};
    LoaderOptions options;
    options.batch_size = 3;
    options.workers = workers;
    options.seed = seed();
    Loader loader(
        make_cached(std::make_shared<CountingDataset>(), std::make_shared<MemoryBudget>(bytes)),
        transforms, make_shuffled_sampler(8, seed()), options);
    std::vector<Batch> all;
    for (int i = 0; i < 12; ++i) all.push_back(*loader.next());
    return all;
  };
  const auto want = batches(0, 0);
  for (const std::int64_t workers : {0, 1, 4}) {
    const auto got = batches(5 * 43000, workers);
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_TRUE(at::equal(got[i].images[0], want[i].images[0]));
      EXPECT_TRUE(
          at::equal(got[i].targets.at("semantic").data, want[i].targets.at("semantic").data));
    }
  }
}

TEST(Cache, SizesAreRead) {
  EXPECT_EQ(parse_bytes("0"), 0);
  EXPECT_EQ(parse_bytes("2 GiB"), std::int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1.5KiB"), 1536);
  EXPECT_EQ(parse_bytes("3 MB"), 3000000);
  for (const char* wrong : {"", "2", "GiB", "-1 GiB", "2 gib", "2 GiB ", "1e99 TiB", "nan B"}) {
    EXPECT_EQ(parse_bytes(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace strata::tests
