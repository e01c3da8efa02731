// Dice loss (Milletari et al., 3DV 2016): one minus the overlap of prediction and target.
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <optional>
#include <tuple>

#include "losses/loss.hpp"
#include "losses/reduction.hpp"

namespace strata::losses {

struct DiceLossOptions : LossOptions, AverageOptions {
  std::optional<bool> use_sigmoid;
  std::string per = "class";
  double exponent = 2.0;
  double smooth = 0.0;
  double eps = 1e-3;
  static auto fields() {
    using config::field;
    return config::join(
        std::tuple_cat(LossOptions::fields(),
                       std::tuple{field("average", &DiceLossOptions::average,
                                        "what ignored pixels predict counts in the denominator "
                                        "(all), as in MMSegmentation, or not (valid)")
                                      .one_of({"valid", "all"})}),
        field("use_sigmoid", &DiceLossOptions::use_sigmoid,
              "probabilities by sigmoid instead of softmax; default: for a single channel only"),
        field("per", &DiceLossOptions::per,
              "what one overlap is taken over: a class in the whole batch, or all classes of a "
              "sample together as MMSegmentation does")
            .one_of({"class", "sample"}),
        field("exponent", &DiceLossOptions::exponent,
              "power of the values in the denominator's two sums")
            .above(0),
        field("smooth", &DiceLossOptions::smooth, "added to numerator and denominator").at_least(0),
        field("eps", &DiceLossOptions::eps, "added to each of the denominator's two sums")
            .at_least(0));
  }
};

/// mean over items of 1 - (2 sum(p t) + smooth) / (sum(p^k) + sum(t^k) + 2 eps + smooth), sums over
/// the item's valid pixels. An item is a class or a sample (`per`); one without valid pixels
/// counts for nothing.
class DiceLoss final : public Loss {
 public:
  DiceLoss(const DiceLossOptions& options, const Context& context)
      : Loss(options, "dice"),
        options_(options),
        ignore_index_(context.label.ignore_index),
        channels_(context.channels),
        sigmoid_(options.use_sigmoid.value_or(context.channels == 1)) {
    if (options.eps == 0 && options.smooth == 0) {
      throw OptionError("eps", "eps and smooth are both 0, got a division by 0 for an empty class");
    }
    if (channels_ == 1 && !sigmoid_) {
      throw OptionError("use_sigmoid",
                        "softmax of one channel is always 1, got false; set it true");
    }
    check_channels(context.label, channels_);
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = at_least_float(logits);
    at::Tensor weight = valid_pixels(target, ignore_index_).to(x.scalar_type()).unsqueeze(1);
    if (pixel_weight.defined()) weight = weight * pixel_weight.unsqueeze(1);
    const at::Tensor positive = positives(target, channels_);
    const at::Tensor p = sigmoid_ ? at::sigmoid(x) : at::softmax(x, 1);
    const at::Tensor t = positive.to(x.scalar_type()) * weight;  // already 0 where not valid

    const bool by_class = options_.per == "class";
    const std::vector<std::int64_t> over =
        by_class ? std::vector<std::int64_t>{0, 2, 3} : std::vector<std::int64_t>{1, 2, 3};
    const at::Tensor overlap = (p * t).sum(over);
    const at::Tensor counted = options_.average == "all" ? power(p) : power(p) * weight;
    const at::Tensor mass = counted.sum(over) + t.sum(over);  // t^k = t, t is 0 or 1
    const at::Tensor score =
        (2 * overlap + options_.smooth) / (mass + 2 * options_.eps + options_.smooth);
    const auto known_items = [&](const at::Tensor& labels) {
      const at::Tensor known = valid_pixels(labels, ignore_index_);
      return by_class ? known.any().expand({channels_}) : known.flatten(1).any(1);
    };
    const at::Tensor items = at::where(known_items(target), 1 - score, at::zeros_like(score));
    const auto count = [&](const at::Tensor& labels) { return known_items(labels).sum(); };
    return mean(items.sum(), target, count, context);
  }

 private:
  at::Tensor power(const at::Tensor& p) const {
    if (options_.exponent == 1.0) return p;
    return options_.exponent == 2.0 ? p * p : p.pow(options_.exponent);
  }

  DiceLossOptions options_;
  std::int64_t ignore_index_;
  std::int64_t channels_;
  bool sigmoid_;
};

}  // namespace strata::losses

STRATA_COMPONENTS(losses_dice_loss) {
  using namespace losses;
  registry.add<Loss, DiceLoss, DiceLossOptions>("DiceLoss", "overlap of probabilities and labels");
}
