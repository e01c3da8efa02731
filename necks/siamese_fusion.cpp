// Siamese fusion: the features of all dates into one set, level by level (Daudt et al., ICIP 2018;
// Open-CD's FeatureFusionNeck).
#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <fmt/format.h>

#include "necks/neck.hpp"

namespace strata::necks {

struct SiameseFusionOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  std::string policy = "concat";
  bool symmetric = false;
  static auto fields() {
    using config::field;
    using O = SiameseFusionOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level in front; derived")
            .one_or_many(),
        field("policy", &O::policy,
              "concat, difference (later minus earlier), abs_difference or sum; diff and abs_diff "
              "are Open-CD's names")
            .one_of({"concat", "difference", "abs_difference", "sum", "diff", "abs_diff"}),
        field("symmetric", &O::symmetric,
              "the same result when two dates change places: concat gives [a + b, |a - b|], "
              "difference |a - b|")};
  }
};

/// Level by level, A and B being [N, C, h, w]:
///   concat [A, B] (2C; one block of C a date)    symmetric: [A + B, |A - B|] (2C)
///   difference B - A                             symmetric: |A - B|
///   abs_difference |A - B|                       sum A + B
/// Sum and (asymmetric) concat take any number of dates, the others two.
class SiameseFusion final : public Neck {
 public:
  static FeatureSpec output(const SiameseFusionOptions& options, const FeatureSpec& input) {
    check_in_channels(options.in_channels, input.channels());
    if (input.dates < 2) {
      throw OptionError(
          "",
          "fuses the dates of a siamese model, got features of one date; leave it out, "
          "or use SiameseEncoderDecoder");
    }
    const bool any_number =
        options.policy == "sum" || (options.policy == "concat" && !options.symmetric);
    if (input.dates != 2 && !any_number) {
      throw OptionError(
          "policy", fmt::format("\"{}\"{} compares two dates, got features of {}; use "
                                "\"concat\" or \"sum\"",
                                options.policy, options.symmetric ? " with symmetric = true" : "",
                                input.dates));
    }
    FeatureSpec spec;
    spec.levels = input.levels;
    spec.extras = extras_of_dates(input);
    if (options.policy == "concat") {
      for (FeatureLevel& level : spec.levels) level.channels *= input.dates;
    }
    return spec;
  }

  SiameseFusion(const SiameseFusionOptions& options, const Context& context)
      : policy_(policy_of(options)) {
    output(options, context.input);
  }

  DateFeatures forward(const DateFeatures& features) override {
    Features fused{{}, extras_of_dates(features)};
    for (std::size_t level = 0; level < features.front().levels.size(); ++level) {
      std::vector<at::Tensor> dates;
      for (const Features& date : features) dates.push_back(date.levels[level]);
      fused.levels.push_back(fuse(dates));
    }
    return {std::move(fused)};
  }

 private:
  enum class Policy { concat, sum_and_distance, difference, distance, sum };

  static Policy policy_of(const SiameseFusionOptions& options) {
    if (options.policy == "concat") {
      return options.symmetric ? Policy::sum_and_distance : Policy::concat;
    }
    if (options.policy == "sum") return Policy::sum;
    const bool signed_difference = options.policy == "difference" || options.policy == "diff";
    return signed_difference && !options.symmetric ? Policy::difference : Policy::distance;
  }

  at::Tensor fuse(const std::vector<at::Tensor>& dates) const {
    switch (policy_) {
      case Policy::concat:
        return at::cat(dates, 1);
      case Policy::sum_and_distance:
        return at::cat({dates[0] + dates[1], at::abs(dates[1] - dates[0])}, 1);
      case Policy::difference:
        return dates[1] - dates[0];
      case Policy::distance:
        return at::abs(dates[1] - dates[0]);
      case Policy::sum:
        break;
    }
    at::Tensor sum = dates[0];
    for (std::size_t i = 1; i < dates.size(); ++i) sum = sum + dates[i];
    return sum;
  }

  Policy policy_;
};

}  // namespace strata::necks

STRATA_COMPONENTS(necks_siamese_fusion) {
  using namespace necks;
  registry.add<Neck, SiameseFusion, SiameseFusionOptions>(
      "SiameseFusion", "features of several dates into one set", {"FeatureFusionNeck"});
}
