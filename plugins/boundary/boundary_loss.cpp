// Cross entropy that counts pixels near a class boundary more often than the others.
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>

#include "losses/loss.hpp"
#include "losses/reduction.hpp"
#include "near_boundary.hpp"

namespace boundary {

using namespace strata;

struct BoundaryLossOptions : LossOptions {
  std::int64_t radius = 3;
  double boundary_weight = 4.0;
  static auto fields() {
    using config::field;
    return config::join(
        LossOptions::fields(),
        field("radius", &BoundaryLossOptions::radius,
              "pixels: how far from another class a pixel still lies near a boundary")
            .at_least(1)
            .at_most(64),
        field("boundary_weight", &BoundaryLossOptions::boundary_weight,
              "how often a pixel near a boundary counts; the others count once")
            .above(0));
  }
};

/// sum(w * term) / sum(w) over valid pixels, with w = boundary_weight near a boundary, else 1.
/// The term is the softmax cross entropy, or the sigmoid one where the head gives one channel.
class BoundaryLoss final : public Loss {
 public:
  BoundaryLoss(const BoundaryLossOptions& options, const Context& context)
      : Loss(options, "boundary"),
        radius_(options.radius),
        boundary_weight_(options.boundary_weight),
        ignore_index_(context.label.ignore_index),
        binary_(context.channels == 1) {
    losses::check_channels(context.label, context.channels);
  }

  at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                     const at::Tensor& pixel_weight, TrainContext& context) override {
    const at::Tensor x = losses::at_least_float(logits);
    const at::Tensor own = weights(target, x);
    at::Tensor sum = terms(x, target) * own;
    if (pixel_weight.defined()) sum = sum * pixel_weight;
    // Asked for this target, and for those of the other batches of an accumulated step.
    const auto count = [&](const at::Tensor& labels) {
      return (labels.is_same(target) ? own : weights(labels, x)).sum();
    };
    return losses::mean(sum.sum(), target, count, context);
  }

 private:
  /// [N, H, W]; 0 where a pixel is ignored.
  at::Tensor weights(const at::Tensor& target, const at::Tensor& like) const {
    const at::Tensor near = near_boundary(target, ignore_index_, radius_);
    return (near * (boundary_weight_ - 1.0) + 1.0).to(like.scalar_type()) *
           losses::valid_pixels(target, ignore_index_);
  }
  /// [N, H, W]; what ignored pixels have does not matter, their weight is 0.
  at::Tensor terms(const at::Tensor& logits, const at::Tensor& target) const {
    if (binary_) {
      return at::binary_cross_entropy_with_logits(
          logits.squeeze(1), target.eq(1).to(logits.scalar_type()), {}, {}, at::Reduction::None);
    }
    return at::cross_entropy_loss(logits, target, {}, at::Reduction::None, ignore_index_);
  }

  std::int64_t radius_;
  double boundary_weight_;
  std::int64_t ignore_index_;
  bool binary_;
};

}  // namespace boundary

STRATA_COMPONENTS(boundary_loss) {
  registry.add<Loss, boundary::BoundaryLoss, boundary::BoundaryLossOptions>(
      "BoundaryLoss", "cross entropy that weighs pixels near class boundaries");
}
