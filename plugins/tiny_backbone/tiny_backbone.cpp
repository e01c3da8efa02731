// The smallest backbone one can write: four strided convolutions, four levels.
#include "backbones/backbone.hpp"
#include "framework/nn/conv_module.hpp"

namespace tiny {

using namespace strata;

struct TinyBackboneOptions {
  std::int64_t width = 16;
  static auto fields() {
    using config::field;
    return std::tuple{field("width", &TinyBackboneOptions::width,
                            "channels of the first level; each next level has twice as many")
                          .at_least(1)};
  }
};

class TinyBackbone final : public Backbone {
 public:
  TinyBackbone(const TinyBackboneOptions& options, const Context& context) {
    std::int64_t channels = context.input.levels.front().channels;
    for (const FeatureLevel& level : output(options, context.input).levels) {
      const bool first = blocks_.empty();
      blocks_.push_back(
          register_module("block" + level.name, nn::ConvModule({.in_channels = channels,
                                                                .out_channels = level.channels,
                                                                .kernel = first ? 7 : 3,
                                                                .stride = first ? 4 : 2})));
      channels = level.channels;
    }
  }

  /// Known before anything is built: what necks and heads derive their channels from.
  static FeatureSpec output(const TinyBackboneOptions& options, const FeatureSpec&) {
    const std::int64_t width = options.width;
    FeatureSpec given;
    given.levels = {
        {"0", width, 4}, {"1", 2 * width, 8}, {"2", 4 * width, 16}, {"3", 8 * width, 32}};
    return given;
  }

  /// [N, C, H, W] -> [N, width << i, H / stride, W / stride], sizes rounded up.
  Features forward(const at::Tensor& images) override {
    Features features;
    at::Tensor x = images;
    for (nn::ConvModule& block : blocks_) features.levels.push_back(x = block->forward(x));
    return features;
  }

 private:
  std::vector<nn::ConvModule> blocks_;
};

}  // namespace tiny

STRATA_COMPONENTS(tiny_backbone) {
  registry.add<Backbone, tiny::TinyBackbone, tiny::TinyBackboneOptions>(
      "TinyBackbone", "four strided convolutions: the example of plugins/tiny_backbone");
}
