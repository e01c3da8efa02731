// Consistency of semantics and change: classes of two dates should agree where nothing changed and
// differ where something did (`sc_mse_loss`, `sim_loss` of torchange).
#include <ATen/TensorOperators.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>

#include "framework/model/semantic_change.hpp"
#include "losses/joint_loss.hpp"
#include "losses/reduction.hpp"

namespace strata::losses {

struct SemanticConsistencyLossOptions : TermOptions {
  std::vector<std::string> targets;
  std::string change;
  static auto fields() {
    using config::field;
    using O = SemanticConsistencyLossOptions;
    return config::join(
        TermOptions::fields(),
        field("targets", &O::targets,
              "the semantic labels of both dates; default: the first of date 0, the first of date "
              "1"),
        field("change", &O::change,
              "the label that says where anything changed; default: the first of role \"change\""));
  }
};

/// With d = (P1 - P2)^2 of a class's probabilities at both dates: the mean over pixels and classes
/// of d where the label says unchanged, of 1 - d where it says changed. Pixels of which it says
/// nothing count for nothing. A changed pixel is at best 1 - 2 / C of C classes, not 0.
class SemanticConsistencyLoss final : public JointLoss {
 public:
  SemanticConsistencyLoss(const SemanticConsistencyLossOptions& options, const Context& context)
      : JointLoss(options, "sc_mse"),
        dates_(semantic_labels(context.labels, options.targets)) {
    const auto change = change_label(context.labels, options.change);
    if (!change) throw OptionError("change", "no head predicts a label of role \"change\"");
    change_ = *change;
  }

  at::Tensor forward(const Outputs& predictions, const Batch& batch,
                     TrainContext& context) override {
    const auto found = batch.targets.find(change_.name);
    if (found == batch.targets.end()) {
      throw DataError("label \"" + change_.name +
                      "\" is needed by SemanticConsistencyLoss, but the data set gives none");
    }
    const at::Tensor& labels = found->second.data;
    const at::Tensor p1 = probabilities_of(predictions, dates_[0]);
    const at::Tensor d = (p1 - probabilities_of(predictions, dates_[1])).square();
    const at::Tensor target = labels.unsqueeze(1);
    const at::Tensor term = at::where(target.eq(0), d, 1 - d);
    const at::Tensor valid = target.ne(change_.ignore_index);
    const at::Tensor sum = at::where(valid, term, at::scalar_tensor(0, term.options())).sum();
    const auto count = [&, channels = d.size(1)](const at::Tensor& map) {
      return channels * valid_pixels(map, change_.ignore_index).sum();
    };
    return mean(sum, labels, count, context);
  }

 private:
  static at::Tensor probabilities_of(const Outputs& predictions, const LabelSpec& label) {
    Output output = *find_output(predictions, label.name);
    output.data = at_least_float(output.data);
    return probabilities(output);
  }

  std::vector<LabelSpec> dates_;
  LabelSpec change_;
};

}  // namespace strata::losses

STRATA_COMPONENTS(losses_semantic_consistency_loss) {
  using namespace losses;
  registry.add<JointLoss, SemanticConsistencyLoss, SemanticConsistencyLossOptions>(
      "SemanticConsistencyLoss", "classes of two dates agree where nothing changed, and only there");
}
