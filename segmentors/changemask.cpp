// ChangeMask (Zheng et al., ISPRS J. 2022): semantics at each date and what changed between them, by
// a head each on the features of one shared backbone.
#include <algorithm>

#include "segmentors/composition.hpp"

namespace strata::segmentors {

struct ChangeMaskOptions : CompositionOptions {
  std::string dates = "joint";
  static auto fields() {
    using config::field;
    return config::join(
        CompositionOptions::fields(),
        field("dates", &ChangeMaskOptions::dates,
              "batch norm of the backbone while training: statistics of both dates as one batch, or "
              "of each date by itself, one after the other")
            .one_of({"joint", "separate"}));
  }
};

/// A composition of two dates whose decode heads say what changed, and, unless only that is asked
/// for, what there is at each date. In the published model `neck` is a TemporalSymmetricTransformer
/// and every head has a UnetDecoder of its own: the semantic head, which describes dates, works on
/// the backbone's features, the other one on the fused ones.
class ChangeMask final : public Composition {
 public:
  static void check(const ChangeMaskOptions& options, const Context& context) {
    const CompositionPlan plan = Composition::plan(options, context, kDates);
    const auto& labels = plan.joint.labels.all();
    if (std::none_of(labels.begin(), labels.end(),
                     [](const LabelSpec& label) { return label.role == "change"; })) {
      throw OptionError("",
                        "no decode head predicts what changed; add one whose target has the role "
                        "\"change\"");
    }
  }
  static std::int64_t dates_of(const ChangeMaskOptions&) { return kDates; }

  ChangeMask(const ChangeMaskOptions& options, const Context& context)
      : Composition(options, context, kDates, options.dates == "joint") {
    check(options, context);
  }

 private:
  static constexpr std::int64_t kDates = 2;
};

}  // namespace strata::segmentors

STRATA_COMPONENTS(segmentors_changemask) {
  using namespace segmentors;
  registry.add<Segmentor, ChangeMask, ChangeMaskOptions>(
      "ChangeMask", "what there is at each of two dates, and what changed between them");
}
