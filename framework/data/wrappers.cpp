// Data sets made of others: repeated, joined, or a part of one.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "framework/base/error.hpp"
#include "framework/base/philox.hpp"
#include "framework/data/dataset.hpp"

namespace strata::data {

namespace {

/// Sample i of this data set is sample `at(i)` of another.
class MappedDataset : public Dataset {
 public:
  explicit MappedDataset(std::shared_ptr<const Dataset> dataset) : dataset_(std::move(dataset)) {}

  Sample read(std::int64_t index) const override { return dataset_->read(at(index)); }
  Sample open(std::int64_t index) const override { return dataset_->open(at(index)); }
  std::string name(std::int64_t index) const override { return dataset_->name(at(index)); }
  std::map<std::string, SampleTarget> read_targets(std::int64_t index) const override {
    return dataset_->read_targets(at(index));
  }
  std::string target_state(std::int64_t index) const override {
    return dataset_->target_state(at(index));
  }

 protected:
  virtual std::int64_t at(std::int64_t index) const = 0;
  const std::shared_ptr<const Dataset> dataset_;
};

struct RepeatDatasetOptions {
  Slot<Dataset> dataset;
  std::int64_t times = 1;

  static auto fields() {
    using O = RepeatDatasetOptions;
    using config::field;
    return std::tuple{
        field("dataset", &O::dataset, "the data set").required(),
        field("times", &O::times, "how often each of its samples counts").required().at_least(1)};
  }
};

class RepeatDataset final : public MappedDataset {
 public:
  RepeatDataset(const RepeatDatasetOptions& options, const Context& context)
      : MappedDataset(options.dataset.build(context)), times_(options.times) {}
  std::int64_t size() const override { return times_ * dataset_->size(); }
  static std::int64_t dates_of(const RepeatDatasetOptions& options) {
    return options.dataset.ask(&Dataset::Statics::dates);
  }

 private:
  std::int64_t at(std::int64_t index) const override { return index % dataset_->size(); }

  std::int64_t times_;
};

struct SubsetDatasetOptions {
  Slot<Dataset> dataset;
  std::vector<std::int64_t> indices;
  std::int64_t first = 0;
  double fraction = 0;
  std::int64_t seed = 0;
  std::int64_t every_nth = 0;
  std::int64_t offset = 0;

  static auto fields() {
    using O = SubsetDatasetOptions;
    using config::field;
    return std::tuple{
        field("dataset", &O::dataset, "the data set").required(),
        field("indices", &O::indices, "these samples, counted from 0 in the order of their names")
            .at_least(0),
        field("first", &O::first, "or the first N samples; 0: not set").at_least(0),
        field("fraction", &O::fraction, "or this share of them, drawn by seed; 0: not set")
            .at_least(0)
            .at_most(1),
        field("seed", &O::seed, "of fraction: another seed, another part").at_least(0),
        field("every_nth", &O::every_nth, "or every Nth sample; 0: not set").at_least(0),
        field("offset", &O::offset, "of every_nth: where to begin").at_least(0)};
  }
};

class SubsetDataset final : public MappedDataset {
 public:
  SubsetDataset(const SubsetDatasetOptions& options, const Context& context)
      : MappedDataset(options.dataset.build(context)) {
    const std::int64_t size = dataset_->size();
    const int ways = !options.indices.empty() + (options.first > 0) + (options.fraction > 0) +
                     (options.every_nth > 0);
    if (ways != 1) {
      throw OptionError("", std::string(ways == 0 ? "needs" : "takes") +
                                " one of indices, first, fraction and every_nth" +
                                (ways == 0 ? "" : ", not several"));
    }
    const std::string samples = "the data set has " + std::to_string(size) + " samples";
    for (const std::int64_t index : options.indices) {
      if (index >= size) throw OptionError("indices", samples);
    }
    if (options.first > size) throw OptionError("first", samples);
    if (options.every_nth > 0 && options.offset >= size) throw OptionError("offset", samples);
    chosen_ = options.indices;
    for (std::int64_t i = 0; i < options.first; ++i) chosen_.push_back(i);
    for (std::int64_t i = options.offset; options.every_nth > 0 && i < size;
         i += options.every_nth) {
      chosen_.push_back(i);
    }
    if (options.fraction > 0) {
      // A larger fraction of one seed holds the smaller ones.
      chosen_.resize(static_cast<std::size_t>(size));
      std::iota(chosen_.begin(), chosen_.end(), std::int64_t{0});
      Philox(static_cast<std::uint64_t>(options.seed), kStream).shuffle(chosen_);
      const double exact = options.fraction * static_cast<double>(size);
      chosen_.resize(static_cast<std::size_t>(std::max<std::int64_t>(1, std::llround(exact))));
      std::sort(chosen_.begin(), chosen_.end());
    }
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(chosen_.size()); }
  static std::int64_t dates_of(const SubsetDatasetOptions& options) {
    return options.dataset.ask(&Dataset::Statics::dates);
  }

 private:
  static constexpr std::uint64_t kStream = 0x5375'6273'6574;  // "Subset"

  std::int64_t at(std::int64_t index) const override {
    return chosen_.at(static_cast<std::size_t>(index));
  }

  std::vector<std::int64_t> chosen_;
};

struct ConcatDatasetOptions {
  std::vector<Slot<Dataset>> datasets;

  static auto fields() {
    using O = ConcatDatasetOptions;
    return std::tuple{config::field("datasets", &O::datasets, "data sets, one after the other")
                          .required()
                          .not_empty()};
  }
};

class ConcatDataset final : public Dataset {
 public:
  ConcatDataset(const ConcatDatasetOptions& options, const Context& context) {
    std::set<std::string> names;
    for (const auto& slot : options.datasets) {
      parts_.push_back(slot.build(context));
      ends_.push_back(size() + parts_.back()->size());
      for (std::int64_t i = 0; i < parts_.back()->size(); ++i) {
        numbered_ = !names.insert(parts_.back()->name(i)).second || numbered_;
      }
    }
  }

  std::int64_t size() const override { return ends_.empty() ? 0 : ends_.back(); }
  Sample read(std::int64_t index) const override { return renamed(index, &Dataset::read); }
  Sample open(std::int64_t index) const override { return renamed(index, &Dataset::open); }
  std::string name(std::int64_t index) const override {
    const auto [part, inside] = find(index);
    // Names stand for files of results: those of two data sets must not meet.
    return (numbered_ ? std::to_string(part) + "/" : "") + parts_[part]->name(inside);
  }
  std::map<std::string, SampleTarget> read_targets(std::int64_t index) const override {
    const auto [part, inside] = find(index);
    return parts_[part]->read_targets(inside);
  }
  std::string target_state(std::int64_t index) const override {
    const auto [part, inside] = find(index);
    return parts_[part]->target_state(inside);
  }
  static std::int64_t dates_of(const ConcatDatasetOptions& options) {
    const std::int64_t dates = options.datasets.front().ask(&Dataset::Statics::dates);
    for (std::size_t i = 1; i < options.datasets.size(); ++i) {
      const std::int64_t other = options.datasets[i].ask(&Dataset::Statics::dates);
      if (other != dates) {
        throw OptionError("datasets." + std::to_string(i),
                          "gives " + std::to_string(other) + " images a sample, the first gives " +
                              std::to_string(dates));
      }
    }
    return dates;
  }

 private:
  Sample renamed(std::int64_t index, Sample (Dataset::*get)(std::int64_t) const) const {
    const auto [part, inside] = find(index);
    Sample sample = (parts_[part].get()->*get)(inside);
    sample.meta.name = name(index);
    return sample;
  }

  std::pair<std::size_t, std::int64_t> find(std::int64_t index) const {
    const auto part = static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), index) -
                                               ends_.begin());
    return {part, index - (part == 0 ? 0 : ends_.at(part - 1))};
  }

  std::vector<std::shared_ptr<const Dataset>> parts_;
  std::vector<std::int64_t> ends_;
  bool numbered_ = false;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_wrappers) {
  using namespace strata::data;
  using strata::Dataset;
  registry.add<Dataset, RepeatDataset, RepeatDatasetOptions>("RepeatDataset",
                                                             "a data set several times over");
  registry.add<Dataset, ConcatDataset, ConcatDatasetOptions>("ConcatDataset",
                                                             "data sets one after the other");
  registry.add<Dataset, SubsetDataset, SubsetDatasetOptions>(
      "SubsetDataset", "a part of a data set: by number, the first ones, a share, every Nth");
}
