// The `[data]` part of a config.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "framework/data/cache.hpp"
#include "framework/data/dataset.hpp"
#include "framework/data/sampler.hpp"
#include "framework/data/tags.hpp"
#include "framework/data/transform.hpp"
#include "framework/io/raster.hpp"

namespace strata {

/// One split: where samples come from, what is done to them, how they are batched.
struct SplitOptions {
  Slot<Dataset> dataset;
  std::vector<Slot<Transform>> transforms;
  Slot<Sampler> sampler;
  std::int64_t batch_size = 1;
  std::int64_t workers = 1;
  std::int64_t prefetch = 2;
  static auto fields() {
    using config::field;
    return std::tuple{
        field("dataset", &SplitOptions::dataset, "where the samples come from").required(),
        field("transforms", &SplitOptions::transforms, "applied in order to each sample"),
        field("sampler", &SplitOptions::sampler,
              "of training: which sample comes next; left out: InfiniteSampler"),
        field("batch_size", &SplitOptions::batch_size, "samples in a batch").at_least(1),
        field("workers", &SplitOptions::workers,
              "loader threads; 0 reads in the training thread; samples do not depend on it")
            .at_least(0)
            .at_most(256),
        field("prefetch", &SplitOptions::prefetch, "batches read ahead").at_least(1)};
  }
};

/// One unnamed split (`[data.val]` with a dataset) or several named ones (`[data.val.NAME]`).
struct SplitSets {
  config::Named<SplitOptions> sets;  // the name of an unnamed one is ""
};

struct DataOptions {
  config::Named<LabelSpec> labels;
  std::int64_t channels = 3;
  Slot<Reader> reader;
  Slot<Reader> label_reader;
  Slot<Writer> writer;
  std::optional<TagOptions> tags;
  ByteSize cache;
  std::optional<SplitOptions> train;
  SplitSets val, test;
  static auto fields();
};

}  // namespace strata

namespace strata::config {

template <>
struct Codec<SplitSets> {
  static TypeInfo type() {
    TypeInfo info = Codec<SplitOptions>::type();
    info.or_named = true;
    return info;
  }
  static void parse(const Value& value, SplitSets& out, Binder& binder, const Constraints& c) {
    const Table* table = binder.table(value);
    if (table == nullptr) return;
    // Only tables inside: names of sets. Anything else is the keys of one set.
    bool named = !table->empty() && !table->contains("dataset");
    for (const Entry& entry : table->entries()) named = named && entry.value.as_table() != nullptr;
    if (named) {
      Codec<Named<SplitOptions>>::parse(value, out.sets, binder, c);
    } else {
      SplitOptions one;
      Codec<SplitOptions>::parse(value, one, binder, c);
      out.sets.assign(1, {"", std::move(one)});
    }
  }
  static Value dump(const SplitSets& value, bool full) {
    if (value.sets.empty()) return Value{};
    if (value.sets.size() == 1 && value.sets.front().first.empty()) {
      return Codec<SplitOptions>::dump(value.sets.front().second, full);
    }
    return Codec<Named<SplitOptions>>::dump(value.sets, full);
  }
};

}  // namespace strata::config

namespace strata {

inline auto DataOptions::fields() {
  using config::field;
  return std::tuple{
      field("labels", &DataOptions::labels, "targets: [data.labels.NAME] with classes").required(),
      field("channels", &DataOptions::channels, "channels of an image").at_least(1),
      field("reader", &DataOptions::reader,
            "how images are opened, of data sets and by predict; left out: ImageReader, whole "
            "pictures"),
      field("label_reader", &DataOptions::label_reader,
            "how label files are opened, whose pixels without a value are ignored; left out: "
            "pictures, with the indices of their palette"),
      field("writer", &DataOptions::writer,
            "how predict writes label maps and probabilities; left out: PNG, and safetensors"),
      field("tags", &DataOptions::tags,
            "scene tags of pictures, for models that read them, of data sets and of predict: the "
            "suffix of their files, or a table; left out: none"),
      field(
          "cache", &DataOptions::cache,
          "memory for decoded samples of training and validation, such as \"2 GiB\"; \"0\": files "
          "are decoded at each draw"),
      field("train", &DataOptions::train, "training samples"),
      field("val", &DataOptions::val, "validation samples; several sets as [data.val.NAME]"),
      field("test", &DataOptions::test, "test samples; several sets as [data.test.NAME]")};
}

}  // namespace strata
