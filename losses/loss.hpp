// Losses compare logits with a label map and average over valid pixels.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <string>
#include <vector>

#include "framework/model/batch.hpp"
#include "framework/model/model.hpp"
#include "registry/component.hpp"

namespace strata {

/// Options every term of a loss has, under mmseg's names.
struct TermOptions {
  double loss_weight = 1.0;
  std::string loss_name;  // "" takes the loss's own name ("ce")
  static auto fields() {
    using config::field;
    return std::tuple{
        field("loss_weight", &TermOptions::loss_weight, "factor of this term in the total"),
        field("loss_name", &TermOptions::loss_name, "name of the term in logs; default by type")};
  }
};

struct LossOptions : TermOptions {
  std::vector<std::string> target;
  static auto fields() {
    using config::field;
    return std::tuple_cat(
        TermOptions::fields(),
        std::tuple{field("target", &LossOptions::target,
                         "of a head of several labels, those that this loss compares; default: all")
                       .one_or_many()});
  }
};

/// A named, weighted term of the total. Throws OptionError for a name with a dot.
class STRATA_API LossTerm : public torch::nn::Module {
 public:
  LossTerm(const TermOptions& options, std::string default_name);
  const std::string& term() const { return name_; }
  double weight() const { return weight_; }

 private:
  std::string name_;
  double weight_;
};

/// A loss is stateless but for buffers (class weights).
class STRATA_API Loss : public LossTerm {
 public:
  static constexpr const char* kind = "loss";
  struct Context {
    LabelSpec label;             // what the logits predict
    std::int64_t channels = 0;   // of the logits; 1 with two classes means one sigmoid channel
  };
  Loss(const LossOptions& options, std::string default_name);

  /// The labels of the head that it compares, empty for all.
  const std::vector<std::string>& targets() const { return targets_; }

  /// logits [N, C, H, W] float, target [N, H, W] int64, optional per-pixel weight [N, H, W]
  /// (undefined: none) -> unweighted scalar; 0 with a graph when no pixel is valid.
  virtual at::Tensor forward(const at::Tensor& logits, const at::Tensor& target,
                             const at::Tensor& pixel_weight, TrainContext& context) = 0;

 private:
  std::vector<std::string> targets_;
};

}  // namespace strata
