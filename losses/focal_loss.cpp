// Focal loss (Lin et al., ICCV 2017): cross entropy in which what is already right counts little.
#include <ATen/TensorOperators.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "framework/model/device_values.hpp"
#include "losses/loss.hpp"
#include "losses/reduction.hpp"

namespace strata::losses {

struct FocalLossOptions : LossOptions, AverageOptions {
  bool use_sigmoid = true;
  double gamma = 2.0;
  std::vector<double> alpha = {0.5};
  std::vector<double> class_weight;
  static auto fields() {
    using config::field;
    using O = FocalLossOptions;
    return std::tuple_cat(
        LossOptions::fields(), AverageOptions::fields(),
        std::tuple{
            field("use_sigmoid", &O::use_sigmoid,
                  "every channel is a yes-or-no question, as in MMSegmentation; false: a choice "
                  "between classes (softmax)"),
            field("gamma", &O::gamma, "a term counts (1 - p)^gamma, p being the probability of "
                                      "what is right")
                .at_least(0),
            field("alpha", &O::alpha,
                  "weight of the positive part of a channel, 1 - alpha being that of the negative "
                  "one; one number or one a channel. With softmax the weight of a class")
                .not_empty()
                .one_or_many(),
            field("class_weight", &O::class_weight,
                  "factor of each channel; does not enter the divisor")});
  }
};

/// mean over valid pixels (and channels, with sigmoid) of alpha (1 - p)^gamma * -log p.
class FocalLoss final : public Loss {
 public:
  FocalLoss(const FocalLossOptions& options, const Context& context)
      : Loss(options, "focal"),
        ignore_index_(context.label.ignore_index),
        channels_(context.channels),
        sigmoid_(options.use_sigmoid),
        over_all_(options.average == "all"),
        gamma_(options.gamma),
        alpha_(options.alpha),
        class_weight_(options.class_weight) {
    check_channels(context.label, channels_);
    if (!sigmoid_ && channels_ == 1) {
      throw OptionError("use_sigmoid",
                        "softmax of one channel is always 1, got false; set it true");
    }
    if (options.alpha.size() != 1) check_weights("alpha", options.alpha, channels_, "channel");
    for (const double alpha : options.alpha) {
      if (alpha >= 0 && alpha <= 1) continue;
      throw OptionError("alpha", "must be from 0 to 1, got " + std::to_string(alpha));
    }
    check_weights("class_weight", options.class_weight, channels_, "channel");
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = at_least_float(logits);
    const at::Tensor positive = positives(target, channels_);
    at::Tensor weight = valid_pixels(target, ignore_index_).to(x.scalar_type()).unsqueeze(1);
    if (pixel_weight.defined()) weight = weight * pixel_weight.unsqueeze(1);
    const auto by_channel = [](const at::Tensor& values) { return values.view({1, -1, 1, 1}); };
    if (!class_weight_.empty()) weight = weight * by_channel(class_weight_.on(x));
    const at::Tensor alpha = by_channel(alpha_.on(x));
    at::Tensor wrong, term;  // 1 - p, -log p
    if (sigmoid_) {
      const at::Tensor t = positive.to(x.scalar_type());
      term = at::binary_cross_entropy_with_logits(x, t, {}, {}, at::Reduction::None);
      wrong = at::sigmoid(at::where(positive, -x, x));
      weight = weight * at::where(positive, alpha, 1 - alpha);
    } else {
      const at::Tensor log_p = at::log_softmax(x, 1);
      term = at::where(positive, -log_p, at::scalar_tensor(0, x.options()));
      wrong = 1 - log_p.exp();
      weight = weight * alpha;
    }
    if (gamma_ == 2) term = term * wrong.square();
    else if (gamma_ != 0) term = term * wrong.clamp_min(kLeast).pow(gamma_);
    const std::int64_t questions = sigmoid_ ? channels_ : 1;
    const auto count = [&](const at::Tensor& labels) {
      return questions * (over_all_ ? at::scalar_tensor(labels.numel(), x.options())
                                    : valid_pixels(labels, ignore_index_).sum());
    };
    return mean((term * weight).sum(), target, count, context);
  }

 private:
  static constexpr double kLeast = 1e-12;  // a root has no slope at 0

  std::int64_t ignore_index_;
  std::int64_t channels_;
  bool sigmoid_;
  bool over_all_;
  double gamma_;
  DeviceValues alpha_, class_weight_;
};

}  // namespace strata::losses

STRATA_COMPONENTS(losses_focal_loss) {
  using namespace losses;
  registry.add<Loss, FocalLoss, FocalLossOptions>(
      "FocalLoss", "cross entropy in which what is already right counts little");
}
