// Normalisation layers chosen by an option.
#pragma once

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/normalization.h>

#include <cstdint>
#include <memory>
#include <string>

#include "framework/config/schema.hpp"

namespace strata::nn {

/// The `norm` option of components: `norm = "BN"` or `norm = {type = "GN", groups = 32}`.
struct NormOptions {
  std::string type = "BN";
  double eps = 1e-5;
  double momentum = 0.1;
  std::int64_t groups = 32;

  static constexpr const char* shorthand = "type";
  static auto fields() {
    using config::field;
    return std::tuple{
        field("type", &NormOptions::type, "batch norm, group norm, or no normalisation")
            .one_of({"BN", "GN", "none"}),
        field("eps", &NormOptions::eps, "added to the variance").above(0),
        field("momentum", &NormOptions::momentum,
              "of BN: weight of the newest batch in the running statistics")
            .at_least(0)
            .at_most(1),
        field("groups", &NormOptions::groups, "of GN: channel groups").at_least(1)};
  }
};

/// A handle to one normalisation layer over [N, C, H, W]. The module inside is LibTorch's own
/// (BatchNorm2d, GroupNorm), so parameter names and type checks are the usual ones.
class STRATA_API Norm {
 public:
  Norm() = default;  // no normalisation
  /// Throws OptionError("norm", …) when the groups do not divide the channels.
  Norm(std::int64_t channels, const NormOptions& options);

  explicit operator bool() const { return batch_norm_ || group_norm_; }
  at::Tensor operator()(const at::Tensor& x) const;
  /// The layer to register; null without normalisation.
  std::shared_ptr<torch::nn::Module> module() const;
  /// The name that mmcv gives the layer inside a block: "bn", "gn".
  const char* short_name() const { return group_norm_ ? "gn" : "bn"; }
  /// Null unless this is a batch norm.
  torch::nn::BatchNorm2dImpl* batch_norm() const { return batch_norm_.get(); }
  /// The scale, undefined without normalisation; set to 0 it silences a residual branch.
  at::Tensor weight() const;

 private:
  std::shared_ptr<torch::nn::BatchNorm2dImpl> batch_norm_;
  std::shared_ptr<torch::nn::GroupNormImpl> group_norm_;
};

}  // namespace strata::nn
