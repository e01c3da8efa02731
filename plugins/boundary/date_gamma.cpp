// Random gamma curve: brightens or darkens the middle tones, black and white stay.
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "framework/base/error.hpp"
#include "framework/data/transform.hpp"

namespace boundary {

using namespace strata;

struct DateGammaOptions {
  std::vector<double> gamma_range = {0.67, 1.5};
  double prob = 0.5;
  static auto fields() {
    using config::field;
    return std::tuple{
        field("gamma_range", &DateGammaOptions::gamma_range,
              "smallest and largest exponent, drawn evenly on a logarithmic scale; below 1 "
              "brightens")
            .size(2)
            .above(0),
        field("prob", &DateGammaOptions::prob, "how likely the image of a date is changed")
            .at_least(0)
            .at_most(1)};
  }
};

/// value -> 255 * (value / 255)^gamma on 8-bit images. Each date has its own draw, because dates
/// are taken under different light; labels are not touched.
class DateGamma final : public Transform {
 public:
  DateGamma(const DateGammaOptions& options, const Context&)
      : low_(std::log(options.gamma_range.at(0))),
        high_(std::log(options.gamma_range.at(1))),
        prob_(options.prob) {
    if (low_ > high_) {
      throw OptionError("gamma_range", fmt::format("the smaller number comes first, got [{}, {}]",
                                                   options.gamma_range[0], options.gamma_range[1]));
    }
  }

  void apply(Sample& sample, Philox& random) const override {
    for (std::size_t date = 0; date < sample.images.size(); ++date) {
      at::Tensor& image = sample.images[date];
      if (image.scalar_type() != at::kByte) {
        throw DataError(sample.meta.paths.at(date) +
                        ": DateGamma changes 8-bit images only; leave it out of transforms");
      }
      // Drawn in any case, so that what follows sees the same random numbers either way.
      const bool changes = random.chance(prob_);
      const double gamma = std::exp(random.uniform(low_, high_));
      if (changes) image = through(curve(gamma), image);
    }
  }

 private:
  using Curve = std::array<std::uint8_t, 256>;

  static Curve curve(double gamma) {
    Curve curve;
    for (std::size_t value = 0; value < curve.size(); ++value) {
      const double share = static_cast<double>(value) / 255.0;
      curve[value] = static_cast<std::uint8_t>(std::lround(255.0 * std::pow(share, gamma)));
    }
    return curve;
  }

  /// A new tensor: the old one may belong to someone else.
  static at::Tensor through(const Curve& curve, const at::Tensor& image) {
    at::Tensor out = at::empty(image.sizes(), image.options());
    const at::Tensor in = image.contiguous();
    const std::uint8_t* from = in.const_data_ptr<std::uint8_t>();
    std::transform(from, from + in.numel(), out.mutable_data_ptr<std::uint8_t>(),
                   [&](std::uint8_t value) { return curve[value]; });
    return out;
  }

  double low_, high_;
  double prob_;
};

}  // namespace boundary

STRATA_COMPONENTS(date_gamma) {
  registry.add<Transform, boundary::DateGamma, boundary::DateGammaOptions>(
      "DateGamma", "random gamma curve, drawn for each date");
}
