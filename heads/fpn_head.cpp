// FPN head: every level brought to the finest one by blocks and upsampling, then summed
// (Kirillov et al., CVPR 2019).
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/upsampling.h>

#include <algorithm>
#include <bit>

#include "framework/nn/conv_module.hpp"
#include "framework/nn/resize.hpp"
#include "heads/dense_head.hpp"

namespace strata::heads {

struct FpnHeadOptions : DenseHeadOptions {
  std::optional<std::vector<std::int64_t>> feature_strides;
  FpnHeadOptions() { channels = 128; }
  static auto fields() {
    using config::field;
    return config::join(DenseHeadOptions::fields(),
                        field("feature_strides", &FpnHeadOptions::feature_strides,
                              "strides of the chosen levels; derived"));
  }
};

class FpnHead final : public DenseHead {
 public:
  static void check(const FpnHeadOptions& options, const Context& context) {
    const DenseHeadPlan plan = DenseHead::plan(options, context, Takes::several);
    std::vector<std::int64_t> strides;
    for (const FeatureLevel& level : plan.levels) strides.push_back(level.stride);
    if (options.feature_strides && *options.feature_strides != strides) {
      throw OptionError(
          "feature_strides",
          fmt::format("the levels have [{}], got [{}]; leave it out to have it "
                      "derived",
                      fmt::join(strides, ", "), fmt::join(*options.feature_strides, ", ")));
    }
    if (*std::min_element(strides.begin(), strides.end()) != strides.front()) {
      throw OptionError("in_index",
                        fmt::format("the first level must be the finest, got strides [{}]",
                                    fmt::join(strides, ", ")));
    }
  }

  FpnHead(const FpnHeadOptions& options, const Context& context)
      : DenseHead(options, context, Takes::several) {
    check(options, context);
    torch::nn::ModuleList heads;
    for (const FeatureLevel& level : plan().levels) {
      const std::int64_t ratio = level.stride / plan().levels.front().stride;
      const int doublings = std::bit_width(static_cast<std::uint64_t>(ratio)) - 1;
      torch::nn::Sequential head;
      for (int k = 0; k < std::max(1, doublings); ++k) {
        head->push_back(nn::ConvModule({.in_channels = k == 0 ? level.channels : options.channels,
                                        .out_channels = options.channels,
                                        .kernel = 3,
                                        .norm = options.norm}));
        if (doublings > 0) {
          head->push_back(torch::nn::Upsample(torch::nn::UpsampleOptions()
                                                  .scale_factor(std::vector<double>{2.0, 2.0})
                                                  .mode(torch::kBilinear)
                                                  .align_corners(options.align_corners)));
        }
      }
      heads->push_back(head);
      scale_heads_.push_back(head);
    }
    register_module("scale_heads", heads);
  }

 private:
  at::Tensor decode(const std::vector<at::Tensor>& inputs) override {
    at::Tensor sum = scale_heads_.front()->forward(inputs.front());
    for (std::size_t i = 1; i < inputs.size(); ++i) {
      sum = sum + nn::resize_as(scale_heads_[i]->forward(inputs[i]), sum, nn::ResizeMode::bilinear,
                                options().align_corners);
    }
    return sum;
  }

  std::vector<torch::nn::Sequential> scale_heads_;
};

}  // namespace strata::heads

STRATA_COMPONENTS(heads_fpn_head) {
  using namespace heads;
  registry.add<Head, FpnHead, FpnHeadOptions>("FPNHead", "levels convolved, upsampled and summed");
}
