// EncoderDecoder: backbone, necks and heads over one image, as in MMSegmentation.
#include "segmentors/composition.hpp"

namespace strata::segmentors {

struct EncoderDecoderOptions : CompositionOptions {};

class EncoderDecoder final : public Composition {
 public:
  static void check(const EncoderDecoderOptions& options, const Context& context) {
    Composition::plan(options, context, 1);
  }
  static std::int64_t dates_of(const EncoderDecoderOptions&) { return 1; }

  EncoderDecoder(const EncoderDecoderOptions& options, const Context& context)
      : Composition(options, context, 1, true) {}
};

}  // namespace strata::segmentors

STRATA_COMPONENTS(segmentors_encoder_decoder) {
  using namespace segmentors;
  registry.add<Segmentor, EncoderDecoder, EncoderDecoderOptions>(
      "EncoderDecoder", "backbone, necks and heads over one image");
}
