// Cross entropy over classes (softmax) and over independent channels (sigmoid).
// Per-pixel weights scale a pixel's term and do not enter the divisor, as in MMSegmentation.
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <tuple>

#include "framework/model/device_values.hpp"
#include "framework/ops/softmax_cross_entropy.hpp"
#include "losses/default_loss.hpp"
#include "losses/loss.hpp"
#include "losses/reduction.hpp"

namespace strata::losses {

struct CrossEntropyLossOptions : LossOptions, AverageOptions {
  std::vector<double> class_weight;
  double label_smoothing = 0.0;
  bool use_sigmoid = false;
  static auto fields() {
    using config::field;
    return std::tuple_cat(
        LossOptions::fields(), AverageOptions::fields(),
        std::tuple{
            field("class_weight", &CrossEntropyLossOptions::class_weight,
                  "factor of each class; the mean divides by the sum of its pixels' factors"),
            field("label_smoothing", &CrossEntropyLossOptions::label_smoothing,
                  "share of the target spread evenly over all classes")
                .at_least(0)
                .at_most(1),
            field(
                "use_sigmoid", &CrossEntropyLossOptions::use_sigmoid,
                "false, as MMSegmentation's configs write; BinaryCrossEntropyLoss is the other")});
  }
};

/// -log softmax at the labelled class. With class weights w the mean is sum(w[y] * term) /
/// sum(w[y]), as in PyTorch; `average = "all"` counts every ignored pixel in the divisor as well.
class CrossEntropyLoss final : public Loss {
 public:
  CrossEntropyLoss(const CrossEntropyLossOptions& options, const Context& context)
      : Loss(options, "ce"),
        ignore_index_(context.label.ignore_index),
        over_all_(options.average == "all"),
        label_smoothing_(options.label_smoothing),
        weight_(options.class_weight) {
    if (options.use_sigmoid) {
      throw OptionError("use_sigmoid",
                        "compares classes by softmax, got true; use type = "
                        "\"BinaryCrossEntropyLoss\"");
    }
    if (context.channels < 2) {
      throw OptionError("",
                        "compares classes, got one channel from the head; use "
                        "BinaryCrossEntropyLoss, or out_channels = 2 in the head");
    }
    check_weights("class_weight", options.class_weight, context.channels, "class");
    if (options.class_weight.empty()) return;
    // Looked up by label value: nothing for values that are not trained on.
    std::vector<double> by_value(
        static_cast<std::size_t>(std::max<std::int64_t>(ignore_index_ + 1, context.channels)), 0.0);
    std::copy(options.class_weight.begin(), options.class_weight.end(), by_value.begin());
    by_value[static_cast<std::size_t>(ignore_index_)] = 0.0;
    weight_by_value_ = DeviceValues(by_value);
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = at_least_float(logits);
    const at::Tensor sum = ops::softmax_cross_entropy(
        x, target, weight_.on(x), pixel_weight,
        {.ignore_index = ignore_index_, .label_smoothing = label_smoothing_});
    const auto count = [&](const at::Tensor& labels) { return divisor(x, labels); };
    return mean(sum, target, count, context);
  }

 private:
  at::Tensor divisor(const at::Tensor& x, const at::Tensor& target) {
    if (weight_.empty()) {
      return over_all_ ? at::scalar_tensor(target.numel(), x.options())
                       : valid_pixels(target, ignore_index_).sum();
    }
    at::Tensor sum = weight_by_value_.on(x).index_select(0, target.flatten()).sum();
    return over_all_ ? sum + target.eq(ignore_index_).sum() : sum;
  }

  std::int64_t ignore_index_;
  bool over_all_;
  double label_smoothing_;
  DeviceValues weight_;
  DeviceValues weight_by_value_;
};

struct BinaryCrossEntropyLossOptions : LossOptions, AverageOptions {
  std::vector<double> class_weight;
  std::vector<double> pos_weight;
  double label_smoothing = 0.0;
  static auto fields() {
    using config::field;
    return std::tuple_cat(
        LossOptions::fields(), AverageOptions::fields(),
        std::tuple{
            field("class_weight", &BinaryCrossEntropyLossOptions::class_weight,
                  "factor of each class: of class 0 and 1 for one channel, of each channel for "
                  "several; does not enter the divisor"),
            field("pos_weight", &BinaryCrossEntropyLossOptions::pos_weight,
                  "factor of the positive part, one number or one a channel")
                .one_or_many(),
            field("label_smoothing", &BinaryCrossEntropyLossOptions::label_smoothing,
                  "eps: the answers asked for are eps and 1 - eps instead of 0 and 1")
                .at_least(0)
                .at_most(0.5)});
  }
};

/// Every channel is a yes-or-no question: one channel asks for class 1 of two, C channels ask for
/// each class. The divisor counts pixels times channels.
class BinaryCrossEntropyLoss final : public Loss {
 public:
  BinaryCrossEntropyLoss(const BinaryCrossEntropyLossOptions& options, const Context& context)
      : Loss(options, "bce"),
        ignore_index_(context.label.ignore_index),
        channels_(context.channels),
        over_all_(options.average == "all"),
        label_smoothing_(options.label_smoothing),
        class_weight_(options.class_weight),
        pos_weight_(options.pos_weight) {
    check_channels(context.label, channels_);
    check_weights("class_weight", options.class_weight, std::max<std::int64_t>(channels_, 2),
                  "class");
    if (options.pos_weight.size() != 1) {
      check_weights("pos_weight", options.pos_weight, channels_, "channel");
    }
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = at_least_float(logits);
    const at::Tensor valid = valid_pixels(target, ignore_index_).unsqueeze(1);
    const at::Tensor positive = positives(target, channels_);
    at::Tensor weight = valid.to(x.scalar_type());
    if (pixel_weight.defined()) weight = weight * pixel_weight.unsqueeze(1);
    if (!class_weight_.empty()) {
      const at::Tensor factors = class_weight_.on(x);
      weight = weight * (channels_ == 1 ? at::where(positive, factors[1], factors[0])
                                        : factors.view({1, channels_, 1, 1}));
    }
    at::Tensor pos_weight = pos_weight_.on(x);
    if (pos_weight.defined()) pos_weight = pos_weight.view({1, -1, 1, 1});
    at::Tensor answer = positive.to(x.scalar_type());
    if (label_smoothing_ > 0) answer = answer * (1 - 2 * label_smoothing_) + label_smoothing_;
    const at::Tensor sum = at::binary_cross_entropy_with_logits(
        x, answer, weight, pos_weight, at::Reduction::Sum);
    const auto count = [&](const at::Tensor& labels) {
      return channels_ * (over_all_ ? at::scalar_tensor(labels.numel(), x.options())
                                    : valid_pixels(labels, ignore_index_).sum());
    };
    return mean(sum, target, count, context);
  }

 private:
  std::int64_t ignore_index_;
  std::int64_t channels_;
  bool over_all_;
  double label_smoothing_;
  DeviceValues class_weight_;
  DeviceValues pos_weight_;
};

std::shared_ptr<Loss> default_loss(const Loss::Context& context) {
  if (context.channels == 1) {
    return std::make_shared<BinaryCrossEntropyLoss>(BinaryCrossEntropyLossOptions{}, context);
  }
  return std::make_shared<CrossEntropyLoss>(CrossEntropyLossOptions{}, context);
}

}  // namespace strata::losses

STRATA_COMPONENTS(losses_cross_entropy_loss) {
  using namespace losses;
  registry.add<Loss, CrossEntropyLoss, CrossEntropyLossOptions>(
      "CrossEntropyLoss", "softmax cross entropy over classes");
  registry.add<Loss, BinaryCrossEntropyLoss, BinaryCrossEntropyLossOptions>(
      "BinaryCrossEntropyLoss", "sigmoid cross entropy of one or several channels");
}
