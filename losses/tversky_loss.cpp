// Tversky loss (Salehi et al., MLMI 2017), with the exponent of the focal Tversky loss (Abraham and
// Khan, ISBI 2019): overlap in which misses and false alarms weigh differently.
#include <ATen/TensorOperators.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <optional>

#include "losses/loss.hpp"
#include "losses/reduction.hpp"

namespace strata::losses {

struct TverskyLossOptions : LossOptions {
  double missed = 0.5;
  std::optional<double> false_alarm;
  double gamma = 1.0;
  double smooth = 1.0;
  static auto fields() {
    using config::field;
    using O = TverskyLossOptions;
    return config::join(
        LossOptions::fields(),
        field("missed", &O::missed,
              "weight of pixels of a class that are predicted otherwise (alpha in torchange, beta "
              "in MMSegmentation)")
            .at_least(0),
        field("false_alarm", &O::false_alarm,
              "weight of pixels that are predicted as a class and are none (beta in torchange, "
              "alpha in MMSegmentation); default: 1 - missed")
            .at_least(0),
        field("gamma", &O::gamma, "exponent of each class's term").above(0),
        field("smooth", &O::smooth, "added to numerator and denominator").above(0));
  }
};

/// mean over classes of (1 - (TP + s) / (TP + missed * FN + false_alarm * FP + s))^gamma, the counts
/// being sums of probabilities over the valid pixels of the batch. With both weights 0.5 it is Dice
/// with twice the `smooth`.
class TverskyLoss final : public Loss {
 public:
  TverskyLoss(const TverskyLossOptions& options, const Context& context)
      : Loss(options, "tversky"),
        options_(options),
        ignore_index_(context.label.ignore_index),
        channels_(context.channels) {
    check_channels(context.label, channels_);
    if (!options.false_alarm && options.missed > 1) {
      throw OptionError("missed", "leaves a negative weight to false alarms, got " +
                                      std::to_string(options.missed) + "; write false_alarm");
    }
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = at_least_float(logits);
    at::Tensor weight = valid_pixels(target, ignore_index_).to(x.scalar_type()).unsqueeze(1);
    if (pixel_weight.defined()) weight = weight * pixel_weight.unsqueeze(1);
    const at::Tensor p = (channels_ == 1 ? at::sigmoid(x) : at::softmax(x, 1)) * weight;
    const at::Tensor t = positives(target, channels_).to(x.scalar_type());
    const at::Tensor hits = (p * t).sum({0, 2, 3});
    const at::Tensor missed = (t * weight).sum({0, 2, 3}) - hits;
    const at::Tensor alarms = p.sum({0, 2, 3}) - hits;
    const double alarm_weight = options_.false_alarm.value_or(1 - options_.missed);
    at::Tensor term = 1 - (hits + options_.smooth) / (hits + options_.missed * missed +
                                                      alarm_weight * alarms + options_.smooth);
    // A root has no slope at 0: what is as good as 0 stays without one.
    if (options_.gamma != 1) term = term.clamp_min(kLeast).pow(options_.gamma);
    const auto known = [&](const at::Tensor& labels) {
      return valid_pixels(labels, ignore_index_).any().expand({channels_});
    };
    const at::Tensor items = at::where(known(target), term, at::zeros_like(term));
    const auto count = [&](const at::Tensor& labels) { return known(labels).sum(); };
    return mean(items.sum(), target, count, context);
  }

 private:
  static constexpr double kLeast = 1e-12;

  TverskyLossOptions options_;
  std::int64_t ignore_index_;
  std::int64_t channels_;
};

}  // namespace strata::losses

STRATA_COMPONENTS(losses_tversky_loss) {
  using namespace losses;
  registry.add<Loss, TverskyLoss, TverskyLossOptions>(
      "TverskyLoss", "overlap that weighs misses and false alarms apart");
}
