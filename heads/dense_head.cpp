#include "heads/dense_head.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "framework/nn/init.hpp"
#include "framework/nn/resize.hpp"
#include "framework/ops/softmax_cross_entropy.hpp"
#include "losses/default_loss.hpp"
#include "losses/reduction.hpp"

namespace strata::heads {

namespace {

std::vector<LabelSpec> find_targets(const DenseHeadOptions& options, const LabelSpecs& labels) {
  if (options.target.empty()) return {labels.get("")};
  std::vector<LabelSpec> targets;
  for (const std::string& name : options.target) targets.push_back(labels.get(name));
  for (const LabelSpec& target : targets) {
    if (target.role != targets.front().role) {
      throw OptionError(
          "target",
          fmt::format("labels of dates and of changes need a head each, got "
                      "\"{}\" ({}) and \"{}\" ({})",
                      targets.front().name, targets.front().role, target.name, target.role));
    }
    if (target.num_classes() != targets.front().num_classes()) {
      throw OptionError("target", fmt::format("\"{}\" has {} classes and \"{}\" has {}; one head "
                                              "predicts the same classes at each date",
                                              targets.front().name, targets.front().num_classes(),
                                              target.name, target.num_classes()));
    }
  }
  return targets;
}

void check_dates(const std::vector<LabelSpec>& targets, std::int64_t dates) {
  for (const LabelSpec& target : targets) {
    if (dates > 1 && target.role == "change") {
      throw OptionError(
          "target",
          fmt::format("a label of changes needs fused features, got \"{}\" on those of {} "
                      "dates; add a neck such as {{type = \"SiameseFusion\"}}",
                      target.name, dates));
    }
    if (dates > 1 && target.date >= dates) {
      throw OptionError("target", fmt::format("the model sees dates 0 to {}, got \"{}\" which "
                                              "describes date {}",
                                              dates - 1, target.name, target.date));
    }
  }
  if (dates == 1 && targets.size() > 1) {
    throw OptionError("target",
                      fmt::format("one date has one label a head, got {}; give each label "
                                  "a head of its own",
                                  targets.size()));
  }
}

std::vector<std::size_t> choose_levels(const DenseHeadOptions& options, const FeatureSpec& input,
                                       bool auxiliary, Takes takes) {
  const auto count = static_cast<std::int64_t>(input.levels.size());
  if (count == 0) throw OptionError("", "there are no feature levels to work on");
  std::vector<std::int64_t> wanted = options.in_index;
  if (wanted.empty()) {
    if (takes == Takes::several || !options.input_transform.empty()) {
      for (std::int64_t i = 0; i < count; ++i) wanted.push_back(i);
    } else {
      wanted = {auxiliary && count > 1 ? count - 2 : count - 1};
    }
  }
  std::vector<std::size_t> index;
  for (std::int64_t i : wanted) {
    if (i < -count || i >= count) {
      throw OptionError("in_index", fmt::format("there are {} levels ({}), got {}", count,
                                                input.str(), i));
    }
    index.push_back(static_cast<std::size_t>(i < 0 ? i + count : i));
  }
  if (takes == Takes::several && options.input_transform == "resize_concat") {
    throw OptionError("input_transform",
                      "this head takes several levels itself, got \"resize_concat\"; leave it out");
  }
  if (takes == Takes::one && options.input_transform == "multiple_select") {
    throw OptionError("input_transform",
                      "this head takes one level, got \"multiple_select\"; use \"resize_concat\" "
                      "or one in_index");
  }
  if (takes == Takes::one && options.input_transform.empty() && index.size() > 1) {
    throw OptionError("in_index", fmt::format("this head takes one level, got [{}]; choose one, or "
                                              "set input_transform = \"resize_concat\"",
                                              fmt::join(wanted, ", ")));
  }
  return index;
}

std::int64_t choose_channels(const DenseHeadOptions& options, const LabelSpec& target) {
  const std::int64_t classes = target.num_classes();
  if (options.num_classes && *options.num_classes != classes) {
    throw OptionError("num_classes", fmt::format("label \"{}\" has {} classes, got {}; leave it "
                                                 "out to have it derived",
                                                 target.name, classes, *options.num_classes));
  }
  if (classes < 2) {
    throw OptionError("target",
                      fmt::format("a map needs two classes at least, got \"{}\" with one; "
                                  "declare the background too",
                                  target.name));
  }
  const std::int64_t channels = options.out_channels.value_or(classes);
  if (channels != classes && !(channels == 1 && classes == 2)) {
    throw OptionError("out_channels",
                      fmt::format("label \"{}\" with {} classes needs {}{}, got {}", target.name,
                                  classes, classes, classes == 2 ? " or 1" : "", channels));
  }
  return channels;
}

// What mmseg's configs give every auxiliary head.
constexpr double kAuxiliaryLossWeight = 0.4;

std::vector<std::shared_ptr<Loss>> build_losses(const DenseHeadOptions& options,
                                                const DenseHeadPlan& plan) {
  const Loss::Context context{.label = plan.targets.front(), .channels = plan.out_channels};
  std::vector<std::shared_ptr<Loss>> losses;
  if (options.loss_decode.empty()) losses.push_back(losses::default_loss(context));
  std::set<std::string> terms;
  std::vector<std::string> names;
  for (const LabelSpec& target : plan.targets) names.push_back(target.name);
  for (const Slot<Loss>& slot : options.loss_decode) {
    losses.push_back(slot.build(context));
    for (const std::string& name : losses.back()->targets()) {
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      throw ConfigError({slot.problem(
          "target", fmt::format("the head predicts {}, got \"{}\"{}", fmt::join(names, ", "), name,
                                did_you_mean(name, names)))});
    }
    if (!terms.insert(losses.back()->term()).second) {
      throw ConfigError(
          {slot.problem("loss_name", "each loss of a head needs a name of its own, got \"" +
                                         losses.back()->term() + "\" again; set loss_name")});
    }
  }
  return losses;
}

// Per cent of valid pixels whose best class is the labelled one; a scalar without graph or sync.
at::Tensor accuracy(const at::Tensor& logits, const at::Tensor& target, const LabelSpec& label,
                    double threshold) {
  const at::Tensor valid = losses::valid_pixels(target, label.ignore_index);
  at::Tensor hits;
  if (logits.size(1) > 1) {
    hits = ops::correct_pixels(logits, target, label.ignore_index);
  } else {
    const at::Tensor positive = logits.squeeze(1).gt(std::log(threshold / (1 - threshold)));
    hits = positive.eq(target.to(at::kBool)).logical_and_(valid).sum();
  }
  return hits.to(at::kFloat) * 100 / valid.sum().clamp_min(1);
}

}  // namespace

DenseHeadPlan DenseHead::plan(const DenseHeadOptions& options, const Context& context,
                              Takes takes) {
  DenseHeadPlan plan;
  plan.necks = plan_necks(options.neck, context.input);
  const FeatureSpec& input = plan.necks.output;
  plan.targets = find_targets(options, context.labels);
  check_dates(plan.targets, input.dates);
  plan.out_channels = choose_channels(options, plan.targets.front());
  plan.index = choose_levels(options, input, context.auxiliary, takes);
  std::vector<std::int64_t> channels;
  for (std::size_t i : plan.index) {
    plan.levels.push_back(input.levels[i]);
    channels.push_back(plan.levels.back().channels);
  }
  check_in_channels(options.in_channels, channels);
  if (options.input_transform == "resize_concat") {
    FeatureLevel joined = plan.levels.front();
    joined.channels = 0;
    for (std::int64_t c : channels) joined.channels += c;
    plan.levels = {joined};
  }
  nn::Norm(options.channels, options.norm);  // building is checking, and costs next to nothing
  build_losses(options, plan);
  return plan;
}

bool DenseHead::per_date(const DenseHeadOptions& options, const LabelSpecs& labels) {
  return find_targets(options, labels).front().role == "semantic";
}

std::vector<std::string> DenseHead::targets(const DenseHeadOptions& options,
                                            const LabelSpecs& labels) {
  std::vector<std::string> names;
  for (const LabelSpec& target : find_targets(options, labels)) names.push_back(target.name);
  return names;
}

bool DenseHead::reads(const DenseHeadOptions& options, const FeatureSpec& input,
                      const std::string& extra) {
  return strata::reads(options.neck, plan_necks(options.neck, input), extra);
}

DenseHead::DenseHead(const DenseHeadOptions& options, const Context& context, Takes takes)
    : options_(options),
      plan_(plan(options, context, takes)),
      loss_factor_(context.auxiliary && options.loss_decode.empty() ? kAuxiliaryLossWeight : 1.0) {
  necks_ = add_necks(*this, options.neck, plan_.necks);
  conv_seg_ = register_module("conv_seg", torch::nn::Conv2d(torch::nn::Conv2dOptions(
                                              options.channels, plan_.out_channels, 1)));
  nn::normal_(conv_seg_->weight, 0, 0.01);
  nn::constant_(conv_seg_->bias, 0);
  if (options.dropout > 0) {
    dropout_ = register_module("dropout", torch::nn::Dropout2d(options.dropout));
  }
  losses_ = build_losses(options, plan_);
  for (std::size_t i = 0; i < losses_.size(); ++i) {
    register_module("loss_" + std::to_string(i), losses_[i]);
  }
}

std::string DenseHead::tensor_name(std::size_t target) const {
  return plan_.targets.size() == 1 ? "logits" : plan_.targets[target].name + ".logits";
}

TensorMap DenseHead::forward(const DateFeatures& given) {
  DateFeatures own;
  for (const auto& neck : necks_) own = neck->forward(own.empty() ? given : own);
  const DateFeatures& features = own.empty() ? given : own;
  TensorMap raw;
  for (std::size_t t = 0; t < plan_.targets.size(); ++t) {
    const Features& date =
        features.size() == 1 ? features.front() : features.at(plan_.targets[t].date);
    std::vector<at::Tensor> inputs;
    for (std::size_t i : plan_.index) inputs.push_back(date.levels[i]);
    if (options_.input_transform == "resize_concat") {
      for (at::Tensor& x : inputs) {
        x = nn::resize_as(x, inputs.front(), nn::ResizeMode::bilinear, options_.align_corners);
      }
      inputs = {at::cat(inputs, 1)};
    }
    at::Tensor x = decode_features(inputs, date);
    if (dropout_) x = dropout_->forward(x);
    raw.emplace_back(tensor_name(t), conv_seg_->forward(x));
  }
  return raw;
}

void DenseHead::loss(const TensorMap& raw, const Batch& batch, const std::string& slot,
                     TrainContext& context, Losses& losses) {
  for (std::size_t t = 0; t < plan_.targets.size(); ++t) {
    const LabelSpec& label = plan_.targets[t];
    const auto found = batch.targets.find(label.name);
    if (found == batch.targets.end()) {
      throw DataError("label \"" + label.name + "\" is predicted by " + slot +
                      ", but the data set gives none");
    }
    const at::Tensor& target = found->second.data;
    const at::Tensor logits = nn::resize(get(raw, tensor_name(t)), target.size(1), target.size(2),
                                         nn::ResizeMode::bilinear, options_.align_corners);
    const std::string prefix =
        slot + "." + (plan_.targets.size() == 1 ? std::string() : label.name + ".");
    for (const auto& loss : losses_) {
      const auto& of = loss->targets();
      if (!of.empty() && std::find(of.begin(), of.end(), label.name) == of.end()) continue;
      // Of one label, the term's own name tells which.
      losses.add((of.size() == 1 ? slot + "." : prefix) + loss->term(),
                 loss->forward(logits, target, {}, context) * (loss->weight() * loss_factor_));
    }
    if (options_.log_accuracy) {
      at::NoGradGuard no_grad;
      losses.log(prefix + "acc_seg", accuracy(logits, target, label, options_.threshold));
    }
  }
}

void DenseHead::predict(const TensorMap& raw, std::int64_t height, std::int64_t width,
                        Outputs& outputs) {
  for (std::size_t t = 0; t < plan_.targets.size(); ++t) {
    Output output;
    output.data = nn::resize(get(raw, tensor_name(t)), height, width, nn::ResizeMode::bilinear,
                             options_.align_corners);
    output.kind = Output::Kind::logits;
    output.activation =
        plan_.out_channels == 1 ? Output::Activation::sigmoid : Output::Activation::softmax;
    output.threshold = options_.threshold;
    output.target = plan_.targets[t].name;
    outputs.emplace_back(tensor_name(t), std::move(output));
  }
}

}  // namespace strata::heads
