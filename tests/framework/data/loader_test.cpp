// The loader gives the same bytes for any number of workers and after any seek.
#include "framework/data/loader.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "framework/io/image.hpp"
#include "tests/framework/data/support.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::tests {
namespace {

// Pictures of different sizes, made up from their index; index `broken` cannot be read.
class DrawnDataset final : public Dataset {
 public:
  explicit DrawnDataset(std::int64_t size, std::int64_t broken = -1, bool grey_too = false)
      : size_(size), broken_(broken), grey_too_(grey_too) {}
  std::int64_t size() const override { return size_; }
  std::string name(std::int64_t index) const override { return "sample" + std::to_string(index); }
  Sample read(std::int64_t index) const override {
    if (index == broken_) throw DataError("sample" + std::to_string(index) + ": cannot be read");
    const std::int64_t height = 12 + index % 3, width = 16 + index % 5;
    Philox random(99, static_cast<std::uint64_t>(index));
    Sample sample;
    for (int date = 0; date < 2; ++date) {
      at::Tensor image = at::empty({height, width, grey_too_ && index == 1 ? 1 : 3}, at::kByte);
      for (std::int64_t i = 0; i < image.numel(); ++i) {
        image.data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.next_u32());
      }
      sample.images.push_back(image);
      sample.meta.paths.push_back(name(index) + ".png");
      sample.meta.tags.push_back({name(index), "date" + std::to_string(date)});
    }
    at::Tensor map = at::empty({height, width}, at::kByte);
    for (std::int64_t i = 0; i < map.numel(); ++i) {
      map.data_ptr<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.integer(0, 2));
    }
    sample.targets["semantic"] = {map, labels_.find("semantic")};
    sample.meta.name = name(index);
    sample.meta.height = height;
    sample.meta.width = width;
    return sample;
  }

 private:
  LabelSpecs labels_ = label_specs({label_spec("semantic", 3)});
  std::int64_t size_, broken_;
  bool grey_too_;
};

std::vector<std::shared_ptr<const Transform>> transforms() {
  const Transform::Context context{label_specs({label_spec("semantic", 3)})};
  return {make<Transform>("{type = \"RandomResize\", size = [14, 20], ratio_range = [0.8, 1.3]}",
                          context),
          make<Transform>("{type = \"RandomCrop\", size = [10, 12]}", context),
          make<Transform>("{type = \"RandomFlip\"}", context),
          make<Transform>("{type = \"PhotoMetricDistortion\"}", context)};
}

std::unique_ptr<Loader> loader(std::int64_t workers, std::int64_t size = 7, std::int64_t batch = 4,
                               bool augment = true) {
  LoaderOptions options;
  options.batch_size = batch;
  options.workers = workers;
  options.prefetch = 3;
  options.seed = seed();
  return std::make_unique<Loader>(
      std::make_shared<DrawnDataset>(size),
      augment ? transforms() : std::vector<std::shared_ptr<const Transform>>{},
      make_shuffled_sampler(size, seed()), options);
}

void expect_equal(const Batch& a, const Batch& b) {
  ASSERT_EQ(a.images.size(), b.images.size());
  for (std::size_t i = 0; i < a.images.size(); ++i)
    EXPECT_TRUE(at::equal(a.images[i], b.images[i]));
  ASSERT_EQ(a.targets.size(), b.targets.size());
  for (const auto& [name, target] : a.targets) {
    EXPECT_TRUE(at::equal(target.data, b.targets.at(name).data));
  }
  for (std::size_t n = 0; n < a.meta.size(); ++n) {
    EXPECT_EQ(a.meta[n].name, b.meta[n].name);
    EXPECT_EQ(a.meta[n].height, b.meta[n].height);
  }
}

TEST(Loader, GivesTheSameBytesForAnyNumberOfWorkers) {
  for (const bool augment : {true, false}) {
    std::vector<Batch> want;
    const auto plain = loader(0, 7, 4, augment);
    for (int i = 0; i < 12; ++i) want.push_back(*plain->next());
    for (const std::int64_t workers : {1, 4}) {
      const auto threaded = loader(workers, 7, 4, augment);
      for (const Batch& batch : want) expect_equal(*threaded->next(), batch);
      EXPECT_EQ(threaded->position(), 48);
    }
  }
}

TEST(Loader, SeeksToAnyDraw) {
  std::vector<Batch> want;
  const auto plain = loader(0);
  for (int i = 0; i < 10; ++i) want.push_back(*plain->next());
  for (const std::int64_t workers : {0, 1, 4}) {
    const auto jumping = loader(workers);
    for (const int batch : {7, 0, 1, 9, 3}) {
      jumping->seek(4 * batch);
      EXPECT_EQ(jumping->position(), 4 * batch);
      expect_equal(*jumping->next(), want[static_cast<std::size_t>(batch)]);
    }
    EXPECT_EQ(jumping->position(), 16);
  }
}

TEST(Loader, SamplesDrawnTwiceAreFresh) {
  const auto endless = loader(1, 1, 2);
  const Batch batch = *endless->next();
  EXPECT_FALSE(at::equal(batch.images[0][0], batch.images[0][1]));
}

TEST(Loader, CollatesIntoChannelsLastAndPads) {
  LoaderOptions options;
  options.batch_size = 3;
  options.workers = 2;
  auto dataset = std::make_shared<DrawnDataset>(3);
  Loader loader(dataset, {}, make_sequential_sampler(3), options);
  const Batch batch = *loader.next();
  EXPECT_FALSE(loader.next().has_value());
  EXPECT_FALSE(loader.next().has_value());
  // Sizes 12 x 16, 13 x 17, 14 x 18.
  ASSERT_EQ(batch.images[1].sizes(), (at::IntArrayRef{3, 3, 14, 18}));
  EXPECT_TRUE(batch.images[1].is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_EQ(batch.targets.at("semantic").data.scalar_type(), at::kLong);
  EXPECT_EQ(batch.targets.at("semantic").spec.name, "semantic");
  for (std::int64_t n = 0; n < 3; ++n) {
    const Sample sample = dataset->read(n);
    const at::Tensor image = batch.images[1][n];
    EXPECT_TRUE(at::equal(image.narrow(1, 0, 12 + n).narrow(2, 0, 16 + n),
                          sample.images[1].permute({2, 0, 1})));
    EXPECT_EQ(image.narrow(1, 12 + n, 2 - n).sum().item<int>(), 0);
    EXPECT_EQ(image.narrow(2, 16 + n, 2 - n).sum().item<int>(), 0);
    const at::Tensor map = batch.targets.at("semantic").data[n];
    EXPECT_TRUE(at::equal(map.narrow(0, 0, 12 + n).narrow(1, 0, 16 + n),
                          sample.targets.at("semantic").map.to(at::kLong)));
    EXPECT_TRUE((map.narrow(0, 12 + n, 2 - n) == 255).all().item<bool>());
    EXPECT_TRUE((map.narrow(1, 16 + n, 2 - n) == 255).all().item<bool>());
    EXPECT_EQ(batch.meta[static_cast<std::size_t>(n)].height, 12 + n);
    EXPECT_EQ(batch.meta[static_cast<std::size_t>(n)].tags, sample.meta.tags);
  }
}

TEST(Loader, LastBatchIsShortOrLeftOut) {
  for (const std::int64_t workers : {0, 2}) {
    for (const bool drop : {false, true}) {
      LoaderOptions options;
      options.batch_size = 4;
      options.workers = workers;
      options.drop_last = drop;
      Loader loader(std::make_shared<DrawnDataset>(6), {}, make_sequential_sampler(6), options);
      EXPECT_EQ(loader.next()->size(), 4);
      const std::optional<Batch> last = loader.next();
      ASSERT_EQ(last.has_value(), !drop);
      if (last) {
        EXPECT_EQ(last->size(), 2);
      }
      EXPECT_FALSE(loader.next().has_value());
    }
  }
}

TEST(Loader, WorkersErrorsReachTheCallerAndTheLoaderGoesOn) {
  for (const std::int64_t workers : {0, 1, 4}) {
    LoaderOptions options;
    options.batch_size = 2;
    options.workers = workers;
    Loader loader(std::make_shared<DrawnDataset>(6, 3), {}, make_sequential_sampler(6), options);
    EXPECT_TRUE(loader.next().has_value());
    EXPECT_EQ(message_of([&] { loader.next(); }), "sample3: cannot be read");
    EXPECT_EQ(loader.next()->meta[0].name, "sample4");
  }
  LoaderOptions options;
  options.batch_size = 3;
  options.workers = 0;
  Loader mixed(std::make_shared<DrawnDataset>(3, -1, true), {}, make_sequential_sampler(3),
               options);
  EXPECT_EQ(message_of([&] { mixed.next(); }),
            "sample1.png: image has 1 8-bit channels, but others of its batch (sample0.png) have 3 "
            "8-bit channels; convert them to one kind or set color_type = \"color\"");
}

// Decodes what it opens, as every data set may.
class WholeDataset final : public Dataset {
 public:
  explicit WholeDataset(std::shared_ptr<const Dataset> dataset) : dataset_(std::move(dataset)) {}
  std::int64_t size() const override { return dataset_->size(); }
  std::string name(std::int64_t index) const override { return dataset_->name(index); }
  Sample read(std::int64_t index) const override { return dataset_->read(index); }

 private:
  std::shared_ptr<const Dataset> dataset_;
};

// Settles the sample each time.
class AtOnce final : public Transform {
 public:
  explicit AtOnce(std::shared_ptr<const Transform> inner) : inner_(std::move(inner)) {}
  void apply(Sample& sample, Philox& random) const override { inner_->apply(sample, random); }

 private:
  std::shared_ptr<const Transform> inner_;
};

// Files decoded in parts, pictures resized in windows, values normalised in the batch: no byte
// differs from each step done to the whole of what the one before it left.
TEST(Loader, WhatIsPutOffChangesNoByte) {
  TempDir dir;
  Philox random(seed(), 11);
  for (int i = 0; i < 4; ++i) {
    const std::int64_t height = 40 + 9 * i, width = 61 - 5 * i;
    at::Tensor image = at::empty({height, width, 3}, at::kByte);
    at::Tensor map = at::empty({height, width}, at::kByte);
    for (std::int64_t k = 0; k < height * width; ++k) {
      for (std::int64_t c = 0; c < 3; ++c) {
        image.data_ptr<std::uint8_t>()[3 * k + c] =
            static_cast<std::uint8_t>(k * (c + 2) / 31 + random.integer(0, 60));
      }
      map.data_ptr<std::uint8_t>()[k] = static_cast<std::uint8_t>(k / 50 % 3);
    }
    const std::string name = std::to_string(i);
    write_file(dir / ("images/" + name + ".jpg"), io::jpeg_bytes(image, 90));
    io::write_png(dir / ("labels/" + name + ".png"), map);
  }
  const LabelSpecs labels = label_specs({label_spec("semantic", 3)});
  const std::shared_ptr<const Dataset> files = make<Dataset>(
      "{type = \"SegmentationFolder\", image_dir = \"" + (dir / "images") +
          "\", label_dir = \"" + (dir / "labels") + "\"}",
      {labels});
  std::vector<std::shared_ptr<const Transform>> late, now;
  for (const char* table :
       {"{type = \"RandomResize\", size = [60, 60], ratio_range = [0.5, 2.0]}",
        "{type = \"RandomCrop\", size = [32, 48], cat_max_ratio = 0.9, pad_if_needed = true, "
        "pad_val = 7}",
        "{type = \"RandomFlip\"}", "{type = \"PhotoMetricDistortion\"}",
        "{type = \"Normalize\", mean = [123.675, 116.28, 103.53], std = [58.395, 57.12, 57.375]}"}) {
    late.push_back(make<Transform>(table, {labels}));
    now.push_back(std::make_shared<AtOnce>(late.back()));
  }
  LoaderOptions options;
  options.batch_size = 4;
  options.seed = seed();
  options.workers = 2;
  Loader parts(files, late, make_shuffled_sampler(4, seed()), options);
  options.workers = 0;
  Loader whole(std::make_shared<WholeDataset>(files), now, make_shuffled_sampler(4, seed()),
               options);
  for (int i = 0; i < 25; ++i) {
    const Batch batch = *parts.next();
    expect_equal(batch, *whole.next());
    EXPECT_EQ(batch.images[0].scalar_type(), at::kFloat);
    EXPECT_TRUE(batch.preprocessed);
    EXPECT_TRUE(batch.images[0].is_contiguous(at::MemoryFormat::ChannelsLast));
  }
  // Without normalising, and with sizes that differ inside a batch.
  late.resize(1);
  now.resize(1);
  Loader sizes(files, late, make_shuffled_sampler(4, seed()), options);
  Loader others(std::make_shared<WholeDataset>(files), now, make_shuffled_sampler(4, seed()),
                options);
  for (int i = 0; i < 5; ++i) expect_equal(*sizes.next(), *others.next());
}

TEST(Loader, LabelMapsMayBeSmallerThanImages) {
  LoaderOptions options;
  options.batch_size = 3;
  options.workers = 2;
  const Transform::Context context{label_specs({label_spec("semantic", 3)})};
  auto dataset = std::make_shared<DrawnDataset>(3);
  Loader loader(dataset,
                {make<Transform>("{type = \"SegRescale\", scale_factor = 0.5}", context),
                 make<Transform>("{type = \"RandomFlip\", prob = 1}", context)},
                make_sequential_sampler(3), options);
  const Batch batch = *loader.next();
  // Sizes 12 x 16, 13 x 17, 14 x 18: halves are rounded up.
  EXPECT_EQ(batch.images[0].sizes(), (at::IntArrayRef{3, 3, 14, 18}));
  const at::Tensor maps = batch.targets.at("semantic").data;
  ASSERT_EQ(maps.sizes(), (at::IntArrayRef{3, 7, 9}));
  EXPECT_TRUE((maps[0].narrow(0, 6, 1) == 255).all().item<bool>());
  // Of two columns the map keeps the second, which was the first before the flip.
  const at::Tensor map = dataset->read(0).targets.at("semantic").map.flip(1).to(at::kLong);
  EXPECT_TRUE(at::equal(maps[0].narrow(0, 0, 6).narrow(1, 0, 8),
                        map.slice(0, 1, 12, 2).slice(1, 1, 16, 2)));
}

TEST(Loader, StopsWithWorkInFlight) {
  for (int i = 0; i < 20; ++i) {
    const auto started = loader(3);
    if (i % 2 == 0) started->next();
  }
}

TEST(Sampler, EachPassHoldsEverySampleOnce) {
  const auto sampler = make_shuffled_sampler(10, seed());
  std::vector<std::vector<std::int64_t>> passes;
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<std::int64_t> order;
    for (int i = 0; i < 10; ++i) order.push_back(sampler->index(10 * pass + i));
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 10U);
    passes.push_back(order);
  }
  EXPECT_NE(passes[0], passes[1]);
  EXPECT_NE(passes[1], passes[2]);
  EXPECT_EQ(sampler->index(13), passes[1][3]) << "any draw again, in any order";
  EXPECT_EQ(make_shuffled_sampler(10, seed())->index(27), passes[2][7]);
}

}  // namespace
}  // namespace strata::tests
