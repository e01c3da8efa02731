// Heads that give one logit map a target: what they share (mmseg's BaseDecodeHead).
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/nn/norm.hpp"
#include "heads/head.hpp"
#include "losses/loss.hpp"
#include "necks/neck.hpp"

namespace strata::heads {

struct DenseHeadOptions {
  std::vector<Slot<Neck>> neck;
  std::optional<std::vector<std::int64_t>> in_channels;
  std::vector<std::int64_t> in_index;
  std::string input_transform;
  std::int64_t channels = 256;
  double dropout = 0.1;
  std::vector<std::string> target;
  std::optional<std::int64_t> num_classes;
  std::optional<std::int64_t> out_channels;
  double threshold = 0.5;
  bool align_corners = false;
  nn::NormOptions norm;
  std::vector<Slot<Loss>> loss_decode;
  bool log_accuracy = true;
  static auto fields() {
    using config::field;
    using O = DenseHeadOptions;
    return std::tuple{
        field("neck", &O::neck, "features into features for this head alone, in this order")
            .one_or_many(),
        field("in_channels", &O::in_channels, "channels of the chosen levels; derived")
            .one_or_many(),
        field("in_index", &O::in_index,
              "levels to work on, negative from the coarsest; default: the coarsest (in an "
              "auxiliary head the one before it), or all where the head takes several")
            .one_or_many(),
        field("input_transform", &O::input_transform,
              "several levels for a head of one: resized to the first and concatenated")
            .one_of({"", "resize_concat", "multiple_select"}),
        field("channels", &O::channels, "channels between the head's layers").at_least(1),
        field("dropout", &O::dropout, "probability of dropping a channel before the classifier")
            .alias("dropout_ratio")
            .at_least(0)
            .below(1),
        field("target", &O::target,
              "the label to predict (default: the first); of several, one a date, all through "
              "the same weights")
            .one_or_many(),
        field("num_classes", &O::num_classes, "classes of the target; derived"),
        field("out_channels", &O::out_channels,
              "channels of the logits: the number of classes, or 1 (sigmoid) for two classes"),
        field("threshold", &O::threshold, "with one channel: class 1 above this probability")
            .above(0)
            .below(1),
        field("align_corners", &O::align_corners, "how maps and logits are resized"),
        field("norm", &O::norm, "normalisation of every block"),
        field("loss_decode", &O::loss_decode,
              "losses of the logits; default: CrossEntropyLoss (binary for one channel), of "
              "weight 0.4 in an auxiliary head")
            .one_or_many(),
        field("log_accuracy", &O::log_accuracy,
              "log acc_seg while training, per cent of valid pixels")};
  }
};

/// How many feature maps a head works on.
enum class Takes { one, several };

/// What options and context come to, checked.
struct DenseHeadPlan {
  NeckPlan necks;                    // its own
  std::vector<std::size_t> index;    // chosen levels
  std::vector<FeatureLevel> levels;  // what decode() is given: one or several
  std::vector<LabelSpec> targets;
  std::int64_t out_channels = 0;
};

/// A dense head works on chosen levels of one date and classifies each pixel with `conv_seg`, a
/// 1x1 convolution. Raw tensors: "logits" [N, out_channels, h, w], or "<target>.logits" for
/// several targets.
class STRATA_API DenseHead : public Head {
 public:
  static DenseHeadPlan plan(const DenseHeadOptions& options, const Context& context, Takes takes);
  static bool per_date(const DenseHeadOptions& options, const LabelSpecs& labels);
  static std::vector<std::string> targets(const DenseHeadOptions& options,
                                          const LabelSpecs& labels);
  static bool reads(const DenseHeadOptions& options, const FeatureSpec& input,
                    const std::string& extra);

  TensorMap forward(const DateFeatures& features) override;
  void loss(const TensorMap& raw, const Batch& batch, const std::string& slot,
            TrainContext& context, Losses& losses) override;
  void predict(const TensorMap& raw, std::int64_t height, std::int64_t width,
               Outputs& outputs) override;

 protected:
  DenseHead(const DenseHeadOptions& options, const Context& context, Takes takes);

  /// The maps of plan().levels -> [N, channels, h, w].
  virtual at::Tensor decode(const std::vector<at::Tensor>& inputs) = 0;
  /// The same for heads that also read extras of the features (texts): these are all of the date's.
  virtual at::Tensor decode_features(const std::vector<at::Tensor>& inputs, const Features&) {
    return decode(inputs);
  }

  const DenseHeadPlan& plan() const { return plan_; }
  const DenseHeadOptions& options() const { return options_; }

 private:
  std::string tensor_name(std::size_t target) const;

  DenseHeadOptions options_;
  DenseHeadPlan plan_;
  double loss_factor_;
  std::vector<std::shared_ptr<Neck>> necks_;
  torch::nn::Conv2d conv_seg_{nullptr};
  torch::nn::Dropout2d dropout_{nullptr};
  std::vector<std::shared_ptr<Loss>> losses_;
};

}  // namespace strata::heads
