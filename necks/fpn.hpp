// Feature pyramid network (Lin et al., CVPR 2017), at each date.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/nn/conv_module.hpp"
#include "necks/neck.hpp"

namespace strata::necks {

struct FpnOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  std::int64_t out_channels = 256;
  std::optional<std::int64_t> num_outs;
  std::int64_t start_level = 0;
  std::int64_t end_level = -1;
  std::string add_extra_convs;
  bool relu_before_extra_convs = false;
  bool no_norm_on_lateral = false;
  nn::NormOptions norm{.type = "none"};
  std::string act = "none";
  std::string upsample = "nearest";
  bool align_corners = false;
  static auto fields() {
    using config::field;
    using O = FpnOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level in front; derived")
            .one_or_many(),
        field("out_channels", &O::out_channels, "channels of every level it gives").at_least(1),
        field(
            "num_outs", &O::num_outs,
            "levels it gives (default: as many as it uses); more are made from the coarsest, each "
            "at half the size")
            .at_least(1),
        field("start_level", &O::start_level, "first level it uses").at_least(0),
        field("end_level", &O::end_level, "level it stops before; -1: uses all").at_least(-1),
        field("add_extra_convs", &O::add_extra_convs,
              "more levels by strided convolution over this, instead of by subsampling")
            .one_of({"", "on_input", "on_lateral", "on_output"}),
        field("relu_before_extra_convs", &O::relu_before_extra_convs,
              "ReLU between the extra convolutions"),
        field("no_norm_on_lateral", &O::no_norm_on_lateral, "norm on the output blocks only"),
        field("norm", &O::norm, "normalisation of every block"),
        field("act", &O::act, "activation of every block").one_of({"none", "ReLU"}),
        field("upsample", &O::upsample, "how coarse levels are enlarged")
            .one_of({"nearest", "bilinear"}),
        field("align_corners", &O::align_corners, "of upsample = \"bilinear\"")};
  }
};

class Fpn final : public Neck {
 public:
  static FeatureSpec output(const FpnOptions& options, const FeatureSpec& input);
  Fpn(const FpnOptions& options, const Context& context);
  DateFeatures forward(const DateFeatures& features) override;

 private:
  nn::ConvModule block(std::int64_t in_channels, std::int64_t kernel, std::int64_t stride,
                       const nn::NormOptions& norm) const;
  std::vector<at::Tensor> pyramid(const std::vector<at::Tensor>& levels) const;

  FpnOptions options_;
  std::size_t used_ = 0;
  std::size_t num_outs_ = 0;
  std::vector<nn::ConvModule> lateral_convs_;
  std::vector<nn::ConvModule> fpn_convs_;
};

}  // namespace strata::necks
