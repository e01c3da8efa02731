// Single-date supervision: pairs of dates made of pictures that were taken once (Zheng et al.,
// "Change is Everywhere: Single-Temporal Supervised Object Change Detection in Remote Sensing
// Imagery", ICCV 2021; for several classes, "Single-Temporal Supervised Learning for Universal
// Remote Sensing Change Detection", IJCV 2024).
#include "framework/data/implied.hpp"
#include "framework/data/transforms/common.hpp"
#include "framework/model/semantic_change.hpp"

namespace strata::data {

namespace {

struct PseudoPairOptions {
  double prob = 0.5;
  std::vector<std::string> targets;
  std::string change;

  static auto fields() {
    using O = PseudoPairOptions;
    using config::field;
    return std::tuple{
        field("prob", &O::prob,
              "share of pairs whose second date is another picture; the rest show one picture "
              "twice, and what follows may light and colour it differently")
            .at_least(0)
            .at_most(1),
        field("targets", &O::targets,
              "the semantic labels: of the data set, and of the second date; default: the first of "
              "date 0, the first of date 1"),
        field("change", &O::change,
              "the label that says where they differ; default: the first of role \"change\"")};
  }
};

/// A picture with its semantic label becomes date 0, another one, drawn like it, date 1; what
/// changed is where their classes differ.
class PseudoPair final : public Transform {
 public:
  PseudoPair(const PseudoPairOptions& options, const Context& context)
      : prob_(options.prob), semantic_(semantic_labels(context.labels, options.targets)) {
    const auto change = change_label(context.labels, options.change);
    if (!change || change->num_classes() < 2) {
      throw OptionError("change", "needs a label of two classes and role \"change\"");
    }
    change_ = *change;
    if (semantic_[0].ignore_index == semantic_[1].ignore_index) return;
    throw OptionError("targets", "must have one ignore_index");
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
    const Sample other = random.chance(prob_) ? another() : sample;
    if (other.height() != sample.height() || other.width() != sample.width()) {
      throw DataError(other.meta.paths.front() + ": has another size than " +
                      sample.meta.paths.front() +
                      ", so they cannot be paired; put a crop or resize in front of PseudoPair");
    }
    sample.images.push_back(other.images.front());
    sample.meta.paths.push_back(other.meta.paths.front());
    if (!sample.meta.tags.empty()) sample.meta.tags.push_back(other.meta.tags.front());
    const auto found = other.targets.find(semantic_[0].name);
    if (found == other.targets.end()) return;  // prediction
    const SampleTarget& before = sample.targets.at(semantic_[0].name);
    const SampleTarget after{found->second.map, &semantic_[1]};
    sample.targets[change_.name] = {implied_change("differs", before, after, change_), &change_};
    sample.targets[semantic_[1].name] = after;
  }

 private:
  double prob_;
  std::vector<LabelSpec> semantic_;  // of both dates; samples point into them
  LabelSpec change_;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_pair) {
  using namespace strata::data;
  registry.add<strata::Transform, PseudoPair, PseudoPairOptions>(
      "PseudoPair", "pairs pictures of one date, for models of two (single-date supervision)");
}
