#include "segmentors/composition.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/modules/container/modulelist.h>

#include <algorithm>
#include <functional>
#include <set>

namespace strata::segmentors {

namespace {

// Runs `body`; a located error joins `problems` and the answer is false.
bool collect(std::vector<Problem>& problems, const std::function<void()>& body) {
  try {
    body();
    return true;
  } catch (const ConfigError& error) {
    problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    return false;
  }
}

std::vector<std::string> targets_of(const Slot<Head>& head, const LabelSpecs& labels) {
  return head.ask(&Head::Statics::targets, labels);
}

// Of all labels those that a decode head predicts.
LabelSpecs predicted_labels(const CompositionOptions& options, const LabelSpecs& labels) {
  std::set<std::string> names;
  for (const Slot<Head>& slot : options.decode_head) {
    for (const std::string& name : targets_of(slot, labels)) names.insert(name);
  }
  config::Named<LabelSpec> predicted;
  for (const LabelSpec& label : labels.all()) {
    if (names.contains(label.name)) predicted.emplace_back(label.name, label);
  }
  return LabelSpecs(std::move(predicted));
}

}  // namespace

CompositionPlan Composition::plan(const CompositionOptions& options, const Context& context,
                                  std::int64_t dates, const FeatureStep& after_backbone) {
  std::vector<Problem> problems;
  CompositionPlan plan;
  plan.image = FeatureSpec::image(context.image_channels);

  // Features flow down: what comes after a part that does not fit cannot be judged.
  const bool known = collect(problems, [&] {
    FeatureSpec spec = options.backbone.ask(&Backbone::Statics::output, plan.image);
    spec.dates = dates;
    if (after_backbone) spec = after_backbone(std::move(spec));
    plan.necks = plan_necks(options.neck, std::move(spec));
  });
  const auto heads = [&](const std::vector<Slot<Head>>& slots, bool auxiliary,
                         std::vector<Head::Context>& contexts) {
    for (const Slot<Head>& slot : slots) {
      collect(problems, [&] {
        const bool per_date = slot.ask(&Head::Statics::per_date, context.labels);
        contexts.push_back(
            {per_date ? plan.per_date() : plan.necks.output, context.labels, auxiliary});
        slot.ask(&Head::Statics::check, contexts.back());
      });
    }
  };
  if (known) {
    heads(options.decode_head, false, plan.decode_heads);
    heads(options.auxiliary_head, true, plan.auxiliary_heads);
  }
  if (!problems.empty()) throw ConfigError(std::move(problems));
  plan.joint.labels = predicted_labels(options, context.labels);
  for (const Slot<JointLoss>& slot : options.joint_loss) slot.build(plan.joint);
  for (const std::string& name : options.predict) {
    std::vector<std::string> names;
    for (const LabelSpec& label : plan.joint.labels.all()) names.push_back(label.name);
    if (plan.joint.labels.find(name) != nullptr) continue;
    throw OptionError("predict", fmt::format("the decode heads predict {}, got \"{}\"{}",
                                             fmt::join(names, ", "), name,
                                             did_you_mean(name, names)));
  }
  Preprocessor(options.preprocessor, context.image_channels);
  return plan;
}

Composition::Composition(const CompositionOptions& options, const Context& context,
                         std::int64_t dates, bool joint, const FeatureStep& after_backbone)
    : dates_(dates),
      joint_(joint),
      preprocessor_(options.preprocessor, context.image_channels),
      predict_(options.predict) {
  const CompositionPlan plan = Composition::plan(options, context, dates, after_backbone);
  fusing_neck_ = plan.necks.fusing();
  backbone_ = options.backbone.build({plan.image});
  register_module("backbone", backbone_);
  necks_ = add_necks(*this, options.neck, plan.necks);
  decode_heads_ =
      build_heads("decode_head", options.decode_head, plan.decode_heads, context.labels);
  auxiliary_heads_ =
      build_heads("auxiliary_head", options.auxiliary_head, plan.auxiliary_heads, context.labels);
  for (const Slot<JointLoss>& slot : options.joint_loss) {
    joint_losses_.push_back(slot.build(plan.joint));
    register_module("joint_loss_" + std::to_string(joint_losses_.size() - 1),
                    joint_losses_.back());
    for (std::size_t i = 0; i + 1 < joint_losses_.size(); ++i) {
      if (joint_losses_[i]->term() != joint_losses_.back()->term()) continue;
      throw ConfigError({slot.problem("loss_name", "each joint loss needs a name of its own, got \"" +
                                                       joint_losses_[i]->term() +
                                                       "\" again; set loss_name")});
    }
  }
  const auto all = parameters();
  if (!all.empty()) reference_ = all.front();
}

std::vector<Composition::HeadSlot> Composition::build_heads(
    const std::string& name, const std::vector<Slot<Head>>& slots,
    const std::vector<Head::Context>& contexts, const LabelSpecs& labels) {
  std::vector<HeadSlot> built;
  torch::nn::ModuleList list;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    HeadSlot slot;
    slot.name = slots.size() == 1 ? name : name + "." + std::to_string(i);
    slot.head = slots[i].build(contexts[i]);
    slot.per_date = slots[i].ask(&Head::Statics::per_date, labels);
    const auto targets = targets_of(slots[i], labels);
    slot.predicted = targets.empty() || std::any_of(targets.begin(), targets.end(),
                                                    [&](const auto& each) { return predicts(each); });
    list->push_back(slot.head);
    built.push_back(std::move(slot));
  }
  if (built.size() == 1)
    register_module(name, built.front().head);
  else if (!built.empty())
    register_module(name, list);
  return built;
}

DateFeatures Composition::after_backbone(DateFeatures features, const Batch&) { return features; }

void Composition::record_levels(const std::string& name, const DateFeatures& features) const {
  if (!probing()) return;
  for (std::size_t d = 0; d < features.size(); ++d) {
    const std::string prefix =
        features.size() == 1 ? name + "." : name + "." + std::to_string(d) + ".";
    for (std::size_t i = 0; i < features[d].levels.size(); ++i) {
      record(prefix + std::to_string(i), features[d].levels[i]);
    }
  }
}

Composition::Encoded Composition::encode(const Batch& batch) {
  if (static_cast<std::int64_t>(batch.images.size()) != dates_) {
    throw DataError(fmt::format("the model compares {} image{} a sample, the data set gives {}",
                                dates_, dates_ == 1 ? "" : "s", batch.images.size()));
  }
  const at::Tensor images = reference_.defined()
                                ? preprocessor_(batch.images, reference_.scalar_type(),
                                                reference_.device(), batch.preprocessed)
                                : preprocessor_(batch.images, at::kFloat,
                                                batch.images.front().device(), batch.preprocessed);
  Encoded encoded;
  encoded.fused = backbone_->forward_dates(images, dates_, joint_);
  record_levels("feat", encoded.fused);
  encoded.fused = after_backbone(std::move(encoded.fused), batch);
  encoded.per_date = encoded.fused;
  for (std::size_t i = 0; i < necks_.size(); ++i) {
    encoded.fused = necks_[i]->forward(encoded.fused);
    if (i < fusing_neck_) encoded.per_date = encoded.fused;
  }
  if (!necks_.empty()) record_levels("neck", encoded.fused);
  return encoded;
}

TensorMap Composition::run(const HeadSlot& slot, const Encoded& features) {
  TensorMap raw = slot.head->forward(features.of(slot));
  for (const auto& [name, value] : raw) record("out." + slot.name + "." + name, value);
  return raw;
}

Losses Composition::loss(const Batch& batch, TrainContext& context) {
  const Encoded features = encode(batch);
  const Batch padded = preprocessor_.pad_targets(batch);
  for (const auto& [name, target] : padded.targets) {
    if (target.data.is_same(batch.targets.at(name).data)) continue;
    context.derived(target.data, [this, name = name](const Batch& other) {
      return preprocessor_.padded_target(other, name);
    });
  }
  Losses losses;
  Outputs predictions;
  for (const auto* slots : {&decode_heads_, &auxiliary_heads_}) {
    for (const HeadSlot& slot : *slots) {
      const TensorMap raw = run(slot, features);
      slot.head->loss(raw, padded, slot.name, context, losses);
      if (joint_losses_.empty() || slots == &auxiliary_heads_) continue;
      slot.head->predict(raw, preprocessor_.padded(batch.height()),
                         preprocessor_.padded(batch.width()), predictions);
    }
  }
  for (const auto& loss : joint_losses_) {
    losses.add("joint_loss." + loss->term(),
               loss->forward(predictions, padded, context) * loss->weight());
  }
  return losses;
}

bool Composition::predicts(const std::string& target) const {
  return predict_.empty() || std::find(predict_.begin(), predict_.end(), target) != predict_.end();
}

Outputs Composition::predict(const Batch& batch) {
  const Encoded features = encode(batch);
  const std::int64_t height = batch.height(), width = batch.width();
  Outputs outputs;
  std::set<std::string> names;
  for (const HeadSlot& slot : decode_heads_) {
    if (!slot.predicted) continue;
    Outputs own;
    slot.head->predict(run(slot, features), preprocessor_.padded(height),
                       preprocessor_.padded(width), own);
    for (auto& [name, output] : own) {
      if (!output.target.empty() && !predicts(output.target)) continue;
      // Padding is cut off again: outputs end in height and width.
      output.data = output.data.narrow(-2, 0, height).narrow(-1, 0, width);
      std::string full = name;
      const std::string prefix = output.target + ".";
      if (decode_heads_.size() > 1 && !output.target.empty() && !name.starts_with(prefix)) {
        full = prefix + name;
      }
      if (names.contains(full)) full = slot.name + "." + name;
      names.insert(full);
      outputs.emplace_back(std::move(full), std::move(output));
    }
  }
  return outputs;
}

}  // namespace strata::segmentors
