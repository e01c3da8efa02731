// FCN head: convolution blocks, then the classifier (Long et al., CVPR 2015).
#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <torch/nn/modules/container/modulelist.h>

#include "framework/nn/conv_module.hpp"
#include "heads/dense_head.hpp"

namespace strata::heads {

struct FcnHeadOptions : DenseHeadOptions {
  std::int64_t num_convs = 2;
  std::int64_t kernel_size = 3;
  std::int64_t dilation = 1;
  bool concat_input = true;
  static auto fields() {
    using config::field;
    return config::join(
        DenseHeadOptions::fields(),
        field("num_convs", &FcnHeadOptions::num_convs, "blocks in a row").at_least(0),
        field("kernel_size", &FcnHeadOptions::kernel_size, "of the blocks, odd").at_least(1),
        field("dilation", &FcnHeadOptions::dilation, "of the blocks").at_least(1),
        field("concat_input", &FcnHeadOptions::concat_input,
              "join the input and the blocks' result, and run one more block over both"));
  }
};

class FcnHead final : public DenseHead {
 public:
  static void check(const FcnHeadOptions& options, const Context& context) {
    const DenseHeadPlan plan = DenseHead::plan(options, context, Takes::one);
    if (options.kernel_size % 2 == 0) {
      throw OptionError("kernel_size",
                        fmt::format("must be odd to keep the size, got {}", options.kernel_size));
    }
    if (options.num_convs == 0 && plan.levels.front().channels != options.channels) {
      throw OptionError("channels",
                        fmt::format("without blocks (num_convs = 0) it must be that of the input, "
                                    "{}, got {}",
                                    plan.levels.front().channels, options.channels));
    }
  }

  FcnHead(const FcnHeadOptions& options, const Context& context)
      : DenseHead(options, context, Takes::one) {
    check(options, context);
    const std::int64_t in_channels = plan().levels.front().channels;
    convs_ = register_module("convs", torch::nn::ModuleList());
    for (std::int64_t i = 0; i < options.num_convs; ++i) {
      convs_->push_back(nn::ConvModule({.in_channels = i == 0 ? in_channels : options.channels,
                                        .out_channels = options.channels,
                                        .kernel = options.kernel_size,
                                        .dilation = options.dilation,
                                        .norm = options.norm}));
    }
    if (options.concat_input) {
      conv_cat_ =
          register_module("conv_cat", nn::ConvModule({.in_channels = in_channels + options.channels,
                                                      .out_channels = options.channels,
                                                      .kernel = options.kernel_size,
                                                      .norm = options.norm}));
    }
  }

 private:
  at::Tensor decode(const std::vector<at::Tensor>& inputs) override {
    at::Tensor x = inputs.front();
    for (const auto& conv : *convs_) x = conv->as<nn::ConvModule>()->forward(x);
    return conv_cat_ ? conv_cat_->forward(at::cat({inputs.front(), x}, 1)) : x;
  }

  torch::nn::ModuleList convs_{nullptr};
  nn::ConvModule conv_cat_{nullptr};
};

}  // namespace strata::heads

STRATA_COMPONENTS(heads_fcn_head) {
  using namespace heads;
  registry.add<Head, FcnHead, FcnHeadOptions>("FCNHead", "convolution blocks on one level");
}
