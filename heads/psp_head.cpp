// PSP head: context by pyramid pooling (Zhao et al., CVPR 2017).
#include "heads/dense_head.hpp"
#include "heads/pyramid_pooling.hpp"

namespace strata::heads {

struct PspHeadOptions : DenseHeadOptions {
  std::vector<std::int64_t> pool_scales = {1, 2, 3, 6};
  PspHeadOptions() { channels = 512; }
  static auto fields() {
    using config::field;
    return config::join(
        DenseHeadOptions::fields(),
        field("pool_scales", &PspHeadOptions::pool_scales, "cells a side").not_empty().at_least(1));
  }
};

class PspHead final : public DenseHead {
 public:
  static void check(const PspHeadOptions& options, const Context& context) {
    DenseHead::plan(options, context, Takes::one);
  }

  PspHead(const PspHeadOptions& options, const Context& context)
      : DenseHead(options, context, Takes::one),
        pooling_({.in_channels = plan().levels.front().channels,
                  .channels = options.channels,
                  .scales = options.pool_scales,
                  .norm = options.norm}) {
    register_module("psp_modules", pooling_.modules());
    bottleneck_ =
        register_module("bottleneck", nn::ConvModule({.in_channels = pooling_.out_channels(),
                                                      .out_channels = options.channels,
                                                      .kernel = 3,
                                                      .norm = options.norm}));
  }

 private:
  at::Tensor decode(const std::vector<at::Tensor>& inputs) override {
    return bottleneck_->forward_joined(pooling_(inputs.front()), options().align_corners);
  }

  PyramidPooling pooling_;
  nn::ConvModule bottleneck_{nullptr};
};

}  // namespace strata::heads

STRATA_COMPONENTS(heads_psp_head) {
  using namespace heads;
  registry.add<Head, PspHead, PspHeadOptions>("PSPHead", "pyramid pooling on one level");
}
