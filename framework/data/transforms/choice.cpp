// Transforms that run others, or not.
#include <memory>
#include <numeric>

#include "framework/data/transforms/common.hpp"
#include "registry/registry.hpp"

namespace strata::data {

namespace {

using Chain = std::vector<std::shared_ptr<const Transform>>;

Chain build_chain(const std::vector<Slot<Transform>>& slots, const Transform::Context& context) {
  Chain chain;
  for (const auto& slot : slots) chain.push_back(slot.build(context));
  return chain;
}

[[noreturn]] void refuse_apply(const char* name) {
  throw std::logic_error(std::string(name) + " may hold transforms that mix: call mix()");
}

/// What comes out of a chain; what runs it now and then must not change the number of images.
std::int64_t same_dates(const std::vector<Slot<Transform>>& slots, std::int64_t given) {
  for (const auto& slot : slots) {
    if (slot.ask(&Transform::Statics::dates, given) == given) continue;
    throw ConfigError({slot.problem("type", "changes the number of images; list it by itself")});
  }
  return given;
}

struct RandomApplyOptions {
  std::vector<Slot<Transform>> transforms;
  double prob = 0.5;

  static auto fields() {
    using O = RandomApplyOptions;
    using config::field;
    return std::tuple{field("transforms", &O::transforms, "applied in order, or not at all")
                          .required()
                          .not_empty(),
                      prob_field(&O::prob)};
  }
};

class RandomApply final : public Transform {
 public:
  RandomApply(const RandomApplyOptions& options, const Context& context)
      : prob_(options.prob), chain_(build_chain(options.transforms, context)) {}

  static std::int64_t dates_of(const RandomApplyOptions& options, std::int64_t given) {
    return same_dates(options.transforms, given);
  }

  bool takes_unsettled() const override { return true; }
  void apply(Sample&, Philox&) const override { refuse_apply("RandomApply"); }
  void mix(Sample& sample, Philox& random, const Another& another) const override {
    if (random.chance(prob_)) run_transforms(chain_, sample, random, another);
  }

 private:
  double prob_;
  Chain chain_;
};

struct RandomChoiceOptions {
  std::vector<std::vector<Slot<Transform>>> transforms;
  std::vector<double> prob;

  static auto fields() {
    using O = RandomChoiceOptions;
    using config::field;
    return std::tuple{
        field("transforms", &O::transforms, "lists of transforms, of which one is applied")
            .required()
            .not_empty(),
        field("prob", &O::prob, "probability of each list, in any unit; left out: all the same")
            .at_least(0)};
  }
};

class RandomChoice final : public Transform {
 public:
  RandomChoice(const RandomChoiceOptions& options, const Context& context) : prob_(options.prob) {
    for (const auto& list : options.transforms) chains_.push_back(build_chain(list, context));
    if (prob_.empty()) prob_.assign(chains_.size(), 1.0);
    if (prob_.size() != chains_.size()) {
      throw OptionError("prob", "has " + std::to_string(prob_.size()) + " values for " +
                                    std::to_string(chains_.size()) + " lists of transforms");
    }
    total_ = std::accumulate(prob_.begin(), prob_.end(), 0.0);
    if (total_ <= 0) throw OptionError("prob", "one of its values must be above 0");
  }

  static std::int64_t dates_of(const RandomChoiceOptions& options, std::int64_t given) {
    for (const auto& list : options.transforms) same_dates(list, given);
    return given;
  }

  bool takes_unsettled() const override { return true; }
  void apply(Sample&, Philox&) const override { refuse_apply("RandomChoice"); }
  void mix(Sample& sample, Philox& random, const Another& another) const override {
    double left = random.uniform(0, total_);
    std::size_t chosen = 0;
    while (chosen + 1 < chains_.size() && left >= prob_[chosen]) left -= prob_[chosen++];
    run_transforms(chains_[chosen], sample, random, another);
  }

 private:
  std::vector<double> prob_;
  std::vector<Chain> chains_;
  double total_ = 0;
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_transforms_choice) {
  using namespace strata::data;
  using strata::Transform;
  registry.add<Transform, RandomApply, RandomApplyOptions>("RandomApply",
                                                           "applies a list of transforms, or not");
  registry.add<Transform, RandomChoice, RandomChoiceOptions>(
      "RandomChoice", "applies one of several lists of transforms");
}
