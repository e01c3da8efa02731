// A model composed of preprocessor, backbone, necks and heads, over one or several dates: all that
// EncoderDecoder and SiameseEncoderDecoder do.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backbones/backbone.hpp"
#include "framework/model/preprocessor.hpp"
#include "heads/head.hpp"
#include "losses/joint_loss.hpp"
#include "necks/neck.hpp"
#include "segmentors/segmentor.hpp"

namespace strata::segmentors {

struct CompositionOptions {
  PreprocessorOptions preprocessor;
  Slot<Backbone> backbone;
  std::vector<Slot<Neck>> neck;
  std::vector<Slot<Head>> decode_head;
  std::vector<Slot<Head>> auxiliary_head;
  std::vector<Slot<JointLoss>> joint_loss;
  std::vector<std::string> predict;
  static auto fields() {
    using config::field;
    using O = CompositionOptions;
    return std::tuple{
        field("preprocessor", &O::preprocessor, "normalisation and padding of images")
            .alias("data_preprocessor"),
        field("backbone", &O::backbone, "images into feature levels").required(),
        field("neck", &O::neck, "features into features, in this order").one_or_many(),
        field("decode_head", &O::decode_head, "what is predicted, one head or several")
            .required()
            .not_empty()
            .one_or_many(),
        field("auxiliary_head", &O::auxiliary_head, "heads that are only trained").one_or_many(),
        field("joint_loss", &O::joint_loss, "losses that compare several predictions")
            .one_or_many(),
        field("predict", &O::predict,
              "the labels to predict, of those that the heads are trained on; default: all")
            .one_or_many()};
  }
};

/// The features at every joint, derived before anything is built.
struct CompositionPlan {
  FeatureSpec image;
  NeckPlan necks;
  std::vector<Head::Context> decode_heads, auxiliary_heads;
  JointLoss::Context joint;  // what the decode heads predict

  /// What the fusing neck is given; the last features without one.
  const FeatureSpec& per_date() const {
    return necks.fusing() < necks.inputs.size() ? necks.inputs[necks.fusing()] : necks.output;
  }
};

/// What a step between backbone and necks makes of the backbone's features. Throws ConfigError, or
/// OptionError of the segmentor.
using FeatureStep = std::function<FeatureSpec(FeatureSpec)>;

/// A head that describes dates is given the features before the fusing neck, any other head those
/// after the last one. Parameters are `backbone.`, `neck.` (`neck.0.` of several), `decode_head.`,
/// `auxiliary_head.`, as in mmseg.
class STRATA_API Composition : public Segmentor {
 public:
  /// Walks the shapes; throws ConfigError with every problem found, builds nothing.
  static CompositionPlan plan(const CompositionOptions& options, const Context& context,
                              std::int64_t dates, const FeatureStep& after_backbone = {});

  Losses loss(const Batch& batch, TrainContext& context) override;
  Outputs predict(const Batch& batch) override;
  std::int64_t dates() const override { return dates_; }

 protected:
  /// joint: while training, all dates go through the backbone as one batch, so that batch norm
  /// takes its statistics over them together.
  Composition(const CompositionOptions& options, const Context& context, std::int64_t dates,
              bool joint, const FeatureStep& after_backbone = {});

  /// The step itself, for models that have one.
  virtual DateFeatures after_backbone(DateFeatures features, const Batch& batch);

 private:
  struct HeadSlot {
    std::string name;
    std::shared_ptr<Head> head;
    bool per_date = false;
    bool predicted = true;
  };
  struct Encoded {
    DateFeatures per_date, fused;
    const DateFeatures& of(const HeadSlot& slot) const { return slot.per_date ? per_date : fused; }
  };

  std::vector<HeadSlot> build_heads(const std::string& name, const std::vector<Slot<Head>>& slots,
                                    const std::vector<Head::Context>& contexts,
                                    const LabelSpecs& labels);
  Encoded encode(const Batch& batch);
  /// "feat.0", or "feat.<date>.0" of several dates.
  void record_levels(const std::string& name, const DateFeatures& features) const;
  TensorMap run(const HeadSlot& slot, const Encoded& features);
  bool predicts(const std::string& target) const;

  std::int64_t dates_;
  bool joint_;
  Preprocessor preprocessor_;
  std::shared_ptr<Backbone> backbone_;
  std::vector<std::shared_ptr<Neck>> necks_;
  std::size_t fusing_neck_ = 0;
  std::vector<HeadSlot> decode_heads_, auxiliary_heads_;
  std::vector<std::shared_ptr<JointLoss>> joint_losses_;
  std::vector<std::string> predict_;
  at::Tensor reference_;  // a parameter: says of which dtype and where the model is
};

}  // namespace strata::segmentors
