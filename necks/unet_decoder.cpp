// U-Net decoder (Ronneberger et al., MICCAI 2015), at each date: the layers, parameter names and
// initial values of segmentation_models_pytorch's UnetDecoder.
#include <ATen/ops/cat.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>

#include "framework/nn/init.hpp"
#include "framework/nn/layers.hpp"
#include "framework/nn/resize.hpp"
#include "necks/neck.hpp"

namespace strata::necks {

struct UnetDecoderOptions {
  std::optional<std::vector<std::int64_t>> in_channels;
  std::vector<std::int64_t> decoder_channels = {256, 128, 64, 32, 16};
  std::string attention_type = "none";
  nn::NormOptions norm;
  static auto fields() {
    using config::field;
    using O = UnetDecoderOptions;
    return std::tuple{
        field("in_channels", &O::in_channels, "channels of every level in front; derived")
            .one_or_many(),
        field("decoder_channels", &O::decoder_channels,
              "channels of each block, from coarse to fine; each block doubles the size, and each "
              "but the last must meet a level of that size")
            .not_empty(),
        field("attention_type", &O::attention_type,
              "scse gates channels and pixels, in front of each block that has a skip and behind "
              "every block")
            .one_of({"none", "scse"}),
        field("norm", &O::norm, "normalisation of every block")};
  }
};

/// Concurrent gates over channels and over pixels (Roy et al., MICCAI 2018): x * (c + s), with c a
/// sigmoid a channel and s a sigmoid a pixel.
class Scse final : public torch::nn::Module {
 public:
  explicit Scse(std::int64_t channels) {
    const std::int64_t squeezed = std::max<std::int64_t>(1, channels / kReduction);
    const nn::ConvOptions with_bias{.bias = true};
    // smp's names: an `attention` that holds two sequences, with the other layers in between.
    reduce_ = nn::conv2d(channels, squeezed, 1, with_bias);
    expand_ = nn::conv2d(squeezed, channels, 1, with_bias);
    pixel_ = nn::conv2d(channels, 1, 1, with_bias);
    for (const auto& conv : {reduce_, expand_, pixel_}) {
      nn::kaiming_uniform_(conv->weight);
      nn::constant_(conv->bias, 0);
    }
    auto attention = std::make_shared<Holder>();
    auto channel = attention->add("cSE", std::make_shared<Holder>());
    channel->add("1", reduce_.ptr());
    channel->add("3", expand_.ptr());
    attention->add("sSE", std::make_shared<Holder>())->add("0", pixel_.ptr());
    register_module("attention", attention);
  }

  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor mean = x.mean({2, 3}, /*keepdim=*/true);
    const at::Tensor channel = expand_->forward(at::relu(reduce_->forward(mean))).sigmoid_();
    return x * (channel + pixel_->forward(x).sigmoid_());
  }

 private:
  static constexpr std::int64_t kReduction = 16;
  struct Holder final : torch::nn::Module {
    template <class Child>
    std::shared_ptr<Child> add(const std::string& name, std::shared_ptr<Child> child) {
      return register_module(name, std::move(child));
    }
  };
  torch::nn::Conv2d reduce_{nullptr}, expand_{nullptr}, pixel_{nullptr};
};

class UnetBlock final : public torch::nn::Module {
 public:
  UnetBlock(std::int64_t in, std::int64_t skip, std::int64_t out,
            const UnetDecoderOptions& options) {
    conv1_ = add_conv("conv1", in + skip, out, options.norm);
    conv2_ = add_conv("conv2", out, out, options.norm);
    if (options.attention_type == "none") return;
    // smp holds the first gate in every block; one without a skip never asks it.
    attention1_ = register_module("attention1", std::make_shared<Scse>(in + skip));
    if (skip == 0) nn::set_unused(*attention1_);
    attention2_ = register_module("attention2", std::make_shared<Scse>(out));
  }

  /// coarse: [N, in, h, w]; skip: [N, skip, H, W] or undefined -> [N, out, H or 2h, W or 2w]
  at::Tensor forward(const at::Tensor& coarse, const at::Tensor& skip) const {
    at::Tensor x;
    if (attention1_ && skip.defined()) {
      const at::Tensor fine = nn::resize_as(coarse, skip, nn::ResizeMode::nearest, false);
      x = conv1_->forward(attention1_->forward(at::cat({fine, skip}, 1)));
    } else {
      x = conv1_->forward_upsampled(coarse, skip);
    }
    x = conv2_->forward(x);
    return attention2_ ? attention2_->forward(x) : x;
  }

 private:
  std::shared_ptr<nn::ConvNorm> add_conv(const char* name, std::int64_t in, std::int64_t out,
                                         const nn::NormOptions& norm) {
    torch::nn::Conv2d conv =
        nn::conv2d(in, out, 3, {.padding = 1, .bias = norm.type == "none"});
    auto made = std::make_shared<nn::ConvNorm>(conv, norm, nn::Activation::relu());
    nn::kaiming_uniform_(conv->weight);
    if (conv->bias.defined()) nn::constant_(conv->bias, 0);
    return register_module(name, std::move(made));
  }

  std::shared_ptr<nn::ConvNorm> conv1_, conv2_;
  std::shared_ptr<Scse> attention1_, attention2_;
};

class UnetDecoder final : public Neck {
 public:
  /// One level: the last block's.
  static FeatureSpec output(const UnetDecoderOptions& options, const FeatureSpec& input) {
    check_in_channels(options.in_channels, input.channels());
    check_levels(options, input);
    for (const std::int64_t channels : options.decoder_channels) {
      nn::Norm(channels, options.norm);  // throws when the groups do not fit
    }
    FeatureSpec spec;
    spec.dates = input.dates;
    spec.extras = input.extras;
    const auto blocks = static_cast<std::int64_t>(options.decoder_channels.size());
    spec.levels = {
        {"decoder", options.decoder_channels.back(), input.levels.back().stride >> blocks}};
    return spec;
  }

  UnetDecoder(const UnetDecoderOptions& options, const Context& context) {
    output(options, context.input);
    const auto& levels = context.input.levels;
    std::int64_t in = levels.back().channels;
    for (std::size_t i = 0; i < options.decoder_channels.size(); ++i) {
      const std::int64_t skip = i + 1 < levels.size() ? levels[levels.size() - 2 - i].channels : 0;
      blocks_->add(std::make_shared<UnetBlock>(in, skip, options.decoder_channels[i], options));
      in = options.decoder_channels[i];
    }
    register_module("blocks", blocks_);
  }

  DateFeatures forward(const DateFeatures& features) override {
    DateFeatures result;
    for (const Features& date : features) result.push_back({{decode(date.levels)}, date.extras});
    return result;
  }

 private:
  static void check_levels(const UnetDecoderOptions& options, const FeatureSpec& input) {
    const auto& levels = input.levels;
    for (const std::int64_t channels : options.decoder_channels) {
      if (channels >= 1) continue;
      throw OptionError("decoder_channels",
                        fmt::format("must be at least 1 each, got [{}]",
                                    fmt::join(options.decoder_channels, ", ")));
    }
    for (std::size_t i = 1; i < levels.size(); ++i) {
      if (levels[i].stride == 2 * levels[i - 1].stride) continue;
      throw OptionError("", fmt::format("joins levels of which each has half the size of the one "
                                        "before, got {}; use a backbone without dilation, and "
                                        "out_indices without a gap",
                                        input.str()));
    }
    // Either every level meets a block, or the last block doubles the size of the finest one.
    const std::size_t blocks = options.decoder_channels.size();
    const std::size_t skips = levels.size() - 1;
    if (blocks == skips || (blocks == skips + 1 && levels.front().stride > 1)) return;
    if (blocks < skips) {
      throw OptionError("decoder_channels",
                        fmt::format("{} levels in front ({}) need {} blocks or more, got {}",
                                    levels.size(), input.str(), skips, blocks));
    }
    // As many levels more as leave one block, or as reach the size of the images.
    std::vector<std::int64_t> missing;
    for (std::int64_t stride = levels.front().stride / 2;
         stride > 0 && missing.size() + skips + 1 < blocks; stride /= 2) {
      missing.insert(missing.begin(), stride);
    }
    if (missing.empty() || missing.size() + skips + 1 < blocks || missing.front() == 1) {
      const auto most = skips + std::bit_width(static_cast<std::uint64_t>(levels.front().stride)) - 1;
      throw OptionError("decoder_channels",
                        fmt::format("{} block{} from {} to the size of the images, got {}", most,
                                    most == 1 ? " leads" : "s lead", input.str(), blocks));
    }
    const bool one = missing.size() == 1;
    throw OptionError(
        "decoder_channels",
        fmt::format("{} blocks need {} {}, got {}; {}", blocks,
                    one ? "a level at stride" : "levels at strides", fmt::join(missing, " and "),
                    input.str(),
                    one && missing.front() == 2
                        ? "write out_indices = [-1, 0, 1, 2, 3] in the backbone for its stem, or "
                          "fewer blocks"
                        : "let the backbone give them (out_indices), or write fewer blocks"));
  }

  /// levels [N, C_i, H_i, W_i], fine to coarse -> [N, C, H_0, W_0], or twice that size
  at::Tensor decode(const std::vector<at::Tensor>& levels) const {
    at::Tensor x = levels.back();
    for (std::size_t i = 0; i < blocks_->size(); ++i) {
      const bool skip = i + 1 < levels.size();
      x = (*blocks_)[i]->forward(x, skip ? levels[levels.size() - 2 - i] : at::Tensor());
    }
    return x;
  }

  std::shared_ptr<nn::LayerList<UnetBlock>> blocks_ = std::make_shared<nn::LayerList<UnetBlock>>();
};

}  // namespace strata::necks

STRATA_COMPONENTS(necks_unet_decoder) {
  using namespace necks;
  registry.add<Neck, UnetDecoder, UnetDecoderOptions>(
      "UnetDecoder", "doubles the size block by block, joining the level of that size");
}
