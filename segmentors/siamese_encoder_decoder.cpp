// SiameseEncoderDecoder: every date through one backbone, then necks and heads (Open-CD's
// SiamEncoderDecoder).
#include "segmentors/composition.hpp"

namespace strata::segmentors {

struct SiameseEncoderDecoderOptions : CompositionOptions {
  std::string dates = "separate";
  std::int64_t num_dates = 2;
  static auto fields() {
    using config::field;
    using O = SiameseEncoderDecoderOptions;
    return config::join(
        CompositionOptions::fields(),
        field("dates", &O::dates,
              "batch norm while training: statistics of each date by itself, one after the other, "
              "as Open-CD; or of all dates as one batch, which is faster")
            .one_of({"separate", "joint"}),
        field("num_dates", &O::num_dates, "images a sample has").at_least(2));
  }
};

class SiameseEncoderDecoder final : public Composition {
 public:
  static void check(const SiameseEncoderDecoderOptions& options, const Context& context) {
    Composition::plan(options, context, options.num_dates);
  }
  static std::int64_t dates_of(const SiameseEncoderDecoderOptions& options) {
    return options.num_dates;
  }

  SiameseEncoderDecoder(const SiameseEncoderDecoderOptions& options, const Context& context)
      : Composition(options, context, options.num_dates, options.dates == "joint") {}
};

}  // namespace strata::segmentors

STRATA_COMPONENTS(segmentors_siamese_encoder_decoder) {
  using namespace segmentors;
  registry.add<Segmentor, SiameseEncoderDecoder, SiameseEncoderDecoderOptions>(
      "SiameseEncoderDecoder", "several dates through one backbone, fused by a neck",
      {"SiamEncoderDecoder"});
}
