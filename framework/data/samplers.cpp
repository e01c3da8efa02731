// Samplers that a config can name. All are endless, and what a draw takes follows from the seed and
// the draw's number alone.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "framework/base/crc32c.hpp"
#include "framework/base/error.hpp"
#include "framework/base/json.hpp"
#include "framework/base/log.hpp"
#include "framework/base/philox.hpp"
#include "framework/data/sampler.hpp"

namespace strata::data {

namespace {

constexpr std::uint64_t kDrawKey = 0x5765'6967'6874'6564;  // "Weighted"; see sampler.cpp

/// Draws 0, 1, … with the probabilities given.
class Lottery {
 public:
  explicit Lottery(const std::vector<double>& weights) : ends_(weights.size()) {
    std::partial_sum(weights.begin(), weights.end(), ends_.begin());
  }
  std::size_t draw(Philox& random) const {
    const double ticket = random.uniform(0, ends_.back());
    const auto found = std::upper_bound(ends_.begin(), ends_.end(), ticket);
    return std::min(static_cast<std::size_t>(found - ends_.begin()), ends_.size() - 1);
  }

 private:
  std::vector<double> ends_;
};

struct InfiniteSamplerOptions {
  bool shuffle = true;

  static auto fields() {
    return std::tuple{
        config::field("shuffle", &InfiniteSamplerOptions::shuffle,
                      "each pass in an order of its own; otherwise in that of names")};
  }
};

class InfiniteSampler final : public Sampler {
 public:
  InfiniteSampler(InfiniteSamplerOptions options, const Context& context)
      : order_(options.shuffle ? make_shuffled_sampler(context.dataset->size(), context.seed)
                               : make_cycling_sampler(context.dataset->size())) {}
  std::int64_t index(std::int64_t draw) override { return order_->index(draw); }
  std::optional<std::int64_t> draws() const override { return std::nullopt; }

 private:
  std::unique_ptr<Sampler> order_;
};

struct WeightedSamplerOptions {
  config::Path file;
  std::optional<double> default_weight;

  static auto fields() {
    using O = WeightedSamplerOptions;
    using config::field;
    return std::tuple{
        field("file", &O::file, "text file with a line a sample: its name, a blank, its weight")
            .required(),
        field("default_weight", &O::default_weight,
              "weight of samples that the file does not name; left out: it must name all")
            .at_least(0)};
  }
};

class WeightedSampler final : public Sampler {
 public:
  WeightedSampler(const WeightedSamplerOptions& options, const Context& context)
      : seed_(context.seed ^ kDrawKey), lottery_(weights(options, *context.dataset)) {}
  std::int64_t index(std::int64_t draw) override {
    Philox random(seed_, static_cast<std::uint64_t>(draw));
    return static_cast<std::int64_t>(lottery_.draw(random));
  }
  std::optional<std::int64_t> draws() const override { return std::nullopt; }

 private:
  static std::vector<double> weights(const WeightedSamplerOptions& options,
                                     const Dataset& dataset) {
    const std::string& path = options.file.resolved;
    std::error_code code;
    std::ifstream stream;  // opened if it is a file: a device may have no end, a pipe may wait
    if (std::filesystem::is_regular_file(path, code)) stream.open(path);
    if (!stream.is_open()) throw DataError(path + ": cannot be read; check sampler.file");
    std::map<std::string, double> named;
    std::int64_t number = 0;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      line.erase(line.find_last_not_of(" \t\r\n") + 1);
      if (line.empty() || line.front() == '#') continue;
      const std::size_t blank = line.find_last_of(" \t");
      const char* text = line.c_str() + (blank == std::string::npos ? line.size() : blank + 1);
      char* end = nullptr;
      const double weight = std::strtod(text, &end);
      if (end == text || *end != '\0' || !std::isfinite(weight) || weight < 0) {
        throw DataError(path + ":" + std::to_string(number) +
                        ": expected a sample's name and a weight of 0 or more, got \"" + line +
                        "\"");
      }
      const std::string name = line.substr(0, line.find_last_not_of(" \t", blank) + 1);
      if (!named.emplace(name, weight).second) {
        throw DataError(path + ":" + std::to_string(number) + ": sample \"" + name +
                        "\" has a weight already; keep one of the lines");
      }
    }
    std::vector<double> all;
    std::vector<std::string> missing;
    std::size_t used = 0;
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      const auto found = named.find(dataset.name(i));
      if (found == named.end()) missing.push_back(dataset.name(i));
      used += found != named.end();
      all.push_back(found == named.end() ? options.default_weight.value_or(0) : found->second);
    }
    if (!missing.empty() && !options.default_weight) {
      throw DataError(path + ": has no weight for " + std::to_string(missing.size()) + " of " +
                      std::to_string(all.size()) + " samples, such as \"" + missing.front() +
                      "\"; add them or set default_weight");
    }
    if (used == 0 && !named.empty()) {
      throw DataError(path + ": names no sample of the data set, got \"" + named.begin()->first +
                      "\"; names have no ending, such as \"" + dataset.name(0) + "\"");
    }
    if (std::accumulate(all.begin(), all.end(), 0.0) <= 0) {
      throw DataError(path + ": all weights are 0; give one sample more");
    }
    return all;
  }

  std::uint64_t seed_;
  Lottery lottery_;
};

/// Pixels of each class in each sample's map of one label.
using ClassCounts = std::vector<std::vector<std::int64_t>>;

ClassCounts count_classes(const Dataset& dataset, const LabelSpec& spec) {
  ClassCounts counts(static_cast<std::size_t>(dataset.size()));
  std::atomic<std::int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr error;
  auto work = [&] {
    for (std::int64_t i = next++; i < dataset.size(); i = next++) {
      try {
        const auto targets = dataset.read_targets(i);
        const auto found = targets.find(spec.name);
        if (found == targets.end()) {
          throw OptionError("target", "the data set has no label \"" + spec.name + "\"");
        }
        std::array<std::int64_t, 256> of{};
        const at::Tensor& map = found->second.map;
        const auto* values = map.const_data_ptr<std::uint8_t>();
        for (std::int64_t k = 0; k < map.numel(); ++k) ++of[values[k]];
        of[static_cast<std::size_t>(spec.ignore_index)] = 0;
        counts[static_cast<std::size_t>(i)].assign(of.begin(), of.begin() + spec.num_classes());
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next = dataset.size();
      }
    }
  };
  const unsigned cores = std::clamp(std::thread::hardware_concurrency(), 1U, 8U);
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < cores; ++i) threads.emplace_back(work);
  }
  if (error) std::rethrow_exception(error);
  return counts;
}

struct ClassBalancedSamplerOptions {
  std::string target;
  std::int64_t min_pixels = 1;
  std::optional<double> temperature;
  config::Path cache;

  static auto fields() {
    using O = ClassBalancedSamplerOptions;
    using config::field;
    return std::tuple{
        field("target", &O::target, "label whose classes are balanced; \"\": the first one"),
        field("min_pixels", &O::min_pixels, "a sample holds a class from this many pixels on")
            .at_least(1),
        field("temperature", &O::temperature,
              "rare classes come more often the smaller it is (softmax of (1 - share) / "
              "temperature); left out: all classes equally often")
            .above(0),
        field("cache", &O::cache,
              "JSON file that keeps the counts for the next run; counted again when label files "
              "or how they are read have changed; left out: counted in each run")};
  }
};

/// Draws a class, then one of the samples that hold it (rare class sampling: Hoyer, Dai and Van
/// Gool, "DAFormer", CVPR 2022).
class ClassBalancedSampler final : public Sampler {
 public:
  ClassBalancedSampler(const ClassBalancedSamplerOptions& options, const Context& context)
      : seed_(context.seed ^ kDrawKey) {
    const LabelSpec& spec = context.labels.get(options.target);
    const ClassCounts counts = counts_of(*context.dataset, spec, options.cache.resolved);
    holders_.resize(spec.classes.size());
    std::vector<double> pixels(spec.classes.size());
    for (std::size_t i = 0; i < counts.size(); ++i) {
      for (std::size_t c = 0; c < pixels.size(); ++c) {
        pixels[c] += static_cast<double>(counts[i][c]);
        if (counts[i][c] >= options.min_pixels) holders_[c].push_back(static_cast<std::int64_t>(i));
      }
    }
    const double total = std::accumulate(pixels.begin(), pixels.end(), 0.0);
    std::vector<double> weights;
    for (std::size_t c = 0; c < pixels.size(); ++c) {
      if (holders_[c].empty()) {
        log::warning("label \"{}\": no sample holds {} pixels of class \"{}\", so it is not drawn",
                     spec.name, options.min_pixels, spec.classes[c]);
        weights.push_back(0);
      } else {
        weights.push_back(options.temperature ? std::exp(-pixels[c] / total / *options.temperature)
                                              : 1.0);
      }
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    if (sum <= 0) {
      throw OptionError("min_pixels", "no sample holds that many pixels of any class of label \"" +
                                          spec.name + "\"");
    }
    for (std::size_t c = 0; c < pixels.size(); ++c) {
      log::info(
          "label \"{}\", class \"{}\": {:.3f} % of the pixels, in {} of {} samples, drawn "
          "for {:.1f} % of the batches' samples",
          spec.name, spec.classes[c], 100 * pixels[c] / total, holders_[c].size(), counts.size(),
          100 * weights[c] / sum);
    }
    classes_ = std::make_unique<Lottery>(weights);
  }

  std::int64_t index(std::int64_t draw) override {
    Philox random(seed_, static_cast<std::uint64_t>(draw));
    const auto& holders = holders_[classes_->draw(random)];
    const auto last = static_cast<std::int64_t>(holders.size()) - 1;
    return holders[static_cast<std::size_t>(random.integer(0, last))];
  }
  std::optional<std::int64_t> draws() const override { return std::nullopt; }

 private:
  static ClassCounts counts_of(const Dataset& dataset, const LabelSpec& spec,
                               const std::string& cache) {
    const std::string state = cache.empty() ? "" : state_of(dataset, spec);
    if (!state.empty() && std::filesystem::exists(cache)) {
      const Json json = read_json(cache);
      if (json.value("state", "") == state) {
        log::info("label \"{}\": counts of {} samples taken from {}", spec.name, dataset.size(),
                  cache);
        return json.at("counts").get<ClassCounts>();
      }
      log::info("{}: counts are of other labels, counting again", cache);
    }
    log::info("label \"{}\": counting the classes of {} samples", spec.name, dataset.size());
    ClassCounts counts = count_classes(dataset, spec);
    if (!state.empty()) write_text(cache, Json{{"state", state}, {"counts", counts}}.dump() + "\n");
    return counts;
  }

  // "" when a sample cannot tell.
  static std::string state_of(const Dataset& dataset, const LabelSpec& spec) {
    std::uint32_t crc = 0;
    for (std::int64_t i = 0; i < dataset.size(); ++i) {
      const std::string one = dataset.target_state(i);
      if (one.empty()) return "";
      crc = crc32c(one.data(), one.size(), crc);
    }
    for (const std::string& name : spec.classes) crc = crc32c(name.data(), name.size() + 1, crc);
    return spec.name + " " + std::to_string(dataset.size()) + " " + std::to_string(crc);
  }

  std::uint64_t seed_;
  std::vector<std::vector<std::int64_t>> holders_;  // samples that hold each class
  std::unique_ptr<Lottery> classes_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_samplers) {
  using namespace strata::data;
  using strata::Sampler;
  registry.add<Sampler, InfiniteSampler, InfiniteSamplerOptions>(
      "InfiniteSampler", "every sample once a pass, pass after pass");
  registry.add<Sampler, WeightedSampler, WeightedSamplerOptions>(
      "WeightedSampler", "draws samples in proportion to weights");
  registry.add<Sampler, ClassBalancedSampler, ClassBalancedSamplerOptions>(
      "ClassBalancedSampler", "draws a class, then a sample that holds it");
}
