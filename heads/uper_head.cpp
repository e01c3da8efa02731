// UPer head: a feature pyramid with pyramid pooling at its top (Xiao et al., ECCV 2018).
#include <torch/nn/modules/container/modulelist.h>

#include "framework/nn/resize.hpp"
#include "heads/dense_head.hpp"
#include "heads/pyramid_pooling.hpp"

namespace strata::heads {

struct UperHeadOptions : DenseHeadOptions {
  std::vector<std::int64_t> pool_scales = {1, 2, 3, 6};
  UperHeadOptions() { channels = 512; }
  static auto fields() {
    using config::field;
    return config::join(DenseHeadOptions::fields(),
                        field("pool_scales", &UperHeadOptions::pool_scales,
                              "cells a side of the pooling over the coarsest level")
                            .not_empty()
                            .at_least(1));
  }
};

class UperHead final : public DenseHead {
 public:
  static void check(const UperHeadOptions& options, const Context& context) {
    DenseHead::plan(options, context, Takes::several);
  }

  UperHead(const UperHeadOptions& options, const Context& context)
      : DenseHead(options, context, Takes::several),
        pooling_({.in_channels = plan().levels.back().channels,
                  .channels = options.channels,
                  .scales = options.pool_scales,
                  .norm = options.norm}) {
    const auto block = [&](std::int64_t in_channels, std::int64_t kernel) {
      return nn::ConvModule({.in_channels = in_channels,
                             .out_channels = options.channels,
                             .kernel = kernel,
                             .norm = options.norm});
    };
    register_module("psp_modules", pooling_.modules());
    bottleneck_ = register_module("bottleneck", block(pooling_.out_channels(), 3));
    torch::nn::ModuleList lateral, fpn;
    for (std::size_t i = 0; i + 1 < plan().levels.size(); ++i) {
      lateral_convs_.push_back(block(plan().levels[i].channels, 1));
      lateral->push_back(lateral_convs_.back());
      fpn_convs_.push_back(block(options.channels, 3));
      fpn->push_back(fpn_convs_.back());
    }
    register_module("lateral_convs", lateral);
    register_module("fpn_convs", fpn);
    const auto levels = static_cast<std::int64_t>(plan().levels.size());
    fpn_bottleneck_ = register_module("fpn_bottleneck", block(levels * options.channels, 3));
  }

 private:
  at::Tensor decode(const std::vector<at::Tensor>& inputs) override {
    const bool align_corners = options().align_corners;
    at::Tensor top = bottleneck_->forward_joined(pooling_(inputs.back()), align_corners);
    std::vector<at::Tensor> maps(inputs.size());
    maps.back() = top;
    for (std::size_t i = inputs.size() - 1; i-- > 0;) {
      const at::Tensor lateral = lateral_convs_[i]->forward(inputs[i]);
      top = lateral + nn::resize_as(top, lateral, nn::ResizeMode::bilinear, align_corners);
      maps[i] = fpn_convs_[i]->forward(top);
    }
    return fpn_bottleneck_->forward_joined(maps, align_corners);
  }

  PyramidPooling pooling_;
  nn::ConvModule bottleneck_{nullptr};
  std::vector<nn::ConvModule> lateral_convs_;
  std::vector<nn::ConvModule> fpn_convs_;
  nn::ConvModule fpn_bottleneck_{nullptr};
};

}  // namespace strata::heads

STRATA_COMPONENTS(heads_uper_head) {
  using namespace heads;
  registry.add<Head, UperHead, UperHeadOptions>("UPerHead",
                                                "feature pyramid with pyramid pooling on top");
}
