// Single-date supervision: pairs of dates made of pictures that were taken once (Zheng et al.,
// "Change is Everywhere: Single-Temporal Supervised Object Change Detection in Remote Sensing
// Imagery", ICCV 2021; for several classes, "Single-Temporal Supervised Learning for Universal
// Remote Sensing Change Detection", IJCV 2024).
#include "framework/data/implied.hpp"
#include "framework/data/transforms/common.hpp"

namespace strata::data {

namespace {

struct PseudoPairOptions {
  double prob = 0.5;

  static auto fields() {
    return std::tuple{
        config::field("prob", &PseudoPairOptions::prob,
                      "share of pairs whose second date is another picture; the rest show one "
                      "picture twice, and what follows may light and colour it differently")
            .at_least(0)
            .at_most(1)};
  }
};

/// A picture with its semantic label becomes date 0, another one, drawn like it, date 1; what
/// changed is where their classes differ. The labels are the first semantic one of each date and
/// the first change label.
class PseudoPair final : public Transform {
 public:
  PseudoPair(PseudoPairOptions options, const Context& context)
      : options_(options), labels_(context.labels) {
    for (const LabelSpec& spec : labels_.all()) {
      const bool semantic = spec.role == "semantic";
      if (semantic && spec.date == 0 && before_ == nullptr) before_ = &spec;
      if (semantic && spec.date == 1 && after_ == nullptr) after_ = &spec;
      if (!semantic && change_ == nullptr) change_ = &spec;
    }
    if (before_ == nullptr || after_ == nullptr || change_ == nullptr) {
      throw OptionError("",
                        "needs a semantic label of date 0, one of date 1, and one of role "
                        "\"change\" under data.labels");
    }
    if (before_->classes != after_->classes || before_->ignore_index != after_->ignore_index) {
      throw OptionError("", "labels \"" + before_->name + "\" and \"" + after_->name +
                                "\" must have the same classes and ignore_index");
    }
    if (change_->num_classes() < 2) {
      throw OptionError("", "label \"" + change_->name + "\" has no class for what changed");
    }
  }
  static std::int64_t dates_of(const PseudoPairOptions&, std::int64_t given) {
    if (given != 1) {
      throw OptionError("", "pairs pictures of one date, got " + std::to_string(given) +
                                " images a sample; take it out of the transforms");
    }
    return 2;
  }

  void apply(Sample&, Philox&) const override {
    throw std::logic_error("PseudoPair needs another sample: call mix()");
  }

  void mix(Sample& sample, Philox& random, const Another& another) const override {
    const Sample other = random.chance(options_.prob) ? another() : sample;
    if (other.height() != sample.height() || other.width() != sample.width()) {
      throw DataError(other.meta.paths.front() + ": has another size than " +
                      sample.meta.paths.front() +
                      ", so they cannot be paired; put a crop or resize in front of PseudoPair");
    }
    sample.images.push_back(other.images.front());
    sample.meta.paths.push_back(other.meta.paths.front());
    if (!sample.meta.tags.empty()) sample.meta.tags.push_back(other.meta.tags.front());
    const auto found = other.targets.find(before_->name);
    if (found == other.targets.end()) return;  // prediction
    const SampleTarget& after = sample.targets[after_->name] = {found->second.map, after_};
    sample.targets[change_->name] = {
        implied_change("differs", sample.targets.at(before_->name), after, *change_), change_};
  }

 private:
  PseudoPairOptions options_;
  LabelSpecs labels_;
  const LabelSpec *before_ = nullptr, *after_ = nullptr, *change_ = nullptr;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_pair) {
  using namespace strata::data;
  registry.add<strata::Transform, PseudoPair, PseudoPairOptions>(
      "PseudoPair", "pairs pictures of one date, for models of two (single-date supervision)");
}
