// Feature pyramid network (Lin et al., CVPR 2017), at each date.
#include "necks/fpn.hpp"

#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/relu.h>
#include <fmt/format.h>
#include <torch/nn/modules/container/modulelist.h>

#include "framework/nn/init.hpp"
#include "framework/nn/resize.hpp"

namespace strata::necks {

namespace {

std::int64_t end_of(const FpnOptions& options, const FeatureSpec& input) {
  return options.end_level == -1 ? static_cast<std::int64_t>(input.levels.size())
                                 : options.end_level;
}

}  // namespace

FeatureSpec Fpn::output(const FpnOptions& options, const FeatureSpec& input) {
  check_in_channels(options.in_channels, input.channels());
  nn::Norm(options.out_channels, options.norm);  // throws when the groups do not fit
  const std::int64_t end = end_of(options, input);
  if (options.start_level >= end || end > static_cast<std::int64_t>(input.levels.size())) {
    throw OptionError(options.end_level == -1 ? "start_level" : "end_level",
                      fmt::format("levels {} to {} are no part of the {} levels in front ({})",
                                  options.start_level, end - 1, input.levels.size(), input.str()));
  }
  const std::int64_t used = end - options.start_level;
  const std::int64_t outs = options.num_outs.value_or(used);
  if (outs < used || (outs > used && options.end_level != -1)) {
    throw OptionError("num_outs", fmt::format("{} levels are used, {}, got {}", used,
                                              outs < used ? "so it must be at least that"
                                                          : "and end_level rules extra ones out",
                                              outs));
  }
  FeatureSpec spec;
  spec.dates = input.dates;
  spec.extras = input.extras;
  for (std::int64_t i = 0; i < outs; ++i) {
    FeatureLevel level;
    if (i < used)
      level = input.levels[static_cast<std::size_t>(options.start_level + i)];
    else
      level = {"extra" + std::to_string(i - used), 0, spec.levels.back().stride * 2};
    level.channels = options.out_channels;
    spec.levels.push_back(level);
  }
  return spec;
}

Fpn::Fpn(const FpnOptions& options, const Context& context) : options_(options) {
  const FeatureSpec spec = output(options, context.input);
  const auto start = static_cast<std::size_t>(options.start_level);
  used_ = static_cast<std::size_t>(end_of(options, context.input)) - start;
  num_outs_ = spec.levels.size();
  torch::nn::ModuleList lateral, fpn;
  nn::NormOptions lateral_norm = options.norm;
  if (options.no_norm_on_lateral) lateral_norm.type = "none";
  for (std::size_t i = 0; i < used_; ++i) {
    lateral_convs_.push_back(block(context.input.levels[start + i].channels, 1, 1, lateral_norm));
    lateral->push_back(lateral_convs_.back());
    fpn_convs_.push_back(block(options.out_channels, 3, 1, options.norm));
    fpn->push_back(fpn_convs_.back());
  }
  if (!options.add_extra_convs.empty()) {
    for (std::size_t i = used_; i < num_outs_; ++i) {
      const bool on_input = i == used_ && options.add_extra_convs == "on_input";
      fpn_convs_.push_back(
          block(on_input ? context.input.levels[start + used_ - 1].channels : options.out_channels,
                3, 2, options.norm));
      fpn->push_back(fpn_convs_.back());
    }
  }
  register_module("lateral_convs", lateral);
  register_module("fpn_convs", fpn);
}

DateFeatures Fpn::forward(const DateFeatures& features) {
  DateFeatures result;
  for (const Features& date : features) result.push_back({pyramid(date.levels), date.extras});
  return result;
}

nn::ConvModule Fpn::block(std::int64_t in_channels, std::int64_t kernel, std::int64_t stride,
                          const nn::NormOptions& norm) const {
  nn::ConvModule made(
      {.in_channels = in_channels,
       .out_channels = options_.out_channels,
       .kernel = kernel,
       .stride = stride,
       .norm = norm,
       .activation = options_.act == "ReLU" ? nn::Activation::relu() : nn::Activation::none()});
  nn::xavier_uniform_(made->named_parameters(true)["conv.weight"]);
  return made;
}

std::vector<at::Tensor> Fpn::pyramid(const std::vector<at::Tensor>& levels) const {
  const auto start = static_cast<std::size_t>(options_.start_level);
  const auto mode =
      options_.upsample == "nearest" ? nn::ResizeMode::nearest : nn::ResizeMode::bilinear;
  std::vector<at::Tensor> laterals(used_);
  std::vector<at::Tensor> outs(used_);
  for (std::size_t i = used_; i-- > 0;) {
    laterals[i] = lateral_convs_[i].ptr()->forward(levels[start + i]);
    if (i + 1 < used_) {
      laterals[i] =
          laterals[i] + nn::resize_as(laterals[i + 1], laterals[i], mode, options_.align_corners);
    }
    outs[i] = fpn_convs_[i].ptr()->forward(laterals[i]);
  }
  for (std::size_t i = used_; i < num_outs_; ++i) {
    if (options_.add_extra_convs.empty()) {
      outs.push_back(at::max_pool2d(outs.back(), 1, 2));
      continue;
    }
    at::Tensor source = outs.back();
    if (i == used_ && options_.add_extra_convs == "on_input") source = levels[start + used_ - 1];
    if (i == used_ && options_.add_extra_convs == "on_lateral") source = laterals.back();
    if (i > used_ && options_.relu_before_extra_convs) source = at::relu(source);
    outs.push_back(fpn_convs_[i].ptr()->forward(source));
  }
  return outs;
}

}  // namespace strata::necks

STRATA_COMPONENTS(necks_fpn) {
  using namespace necks;
  registry.add<Neck, Fpn, FpnOptions>("FPN", "feature pyramid, top-down");
}
