#include "segmentors/composition.hpp"

#include <fmt/format.h>
#include <torch/nn/modules/container/modulelist.h>

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

}  // namespace

CompositionPlan Composition::plan(const CompositionOptions& options, const Context& context,
                                  std::int64_t dates, const FeatureStep& after_backbone) {
  std::vector<Problem> problems;
  CompositionPlan plan;
  plan.image = FeatureSpec::image(context.image_channels);
  plan.fusing_neck = options.neck.size();

  // Features flow down: what comes after a part that does not fit cannot be judged.
  const bool known = collect(problems, [&] {
    FeatureSpec spec = options.backbone.ask(&Backbone::Statics::output, plan.image);
    spec.dates = dates;
    if (after_backbone) spec = after_backbone(std::move(spec));
    plan.per_date = spec;
    for (std::size_t i = 0; i < options.neck.size(); ++i) {
      plan.necks.push_back(spec);
      FeatureSpec next = options.neck[i].ask(&Neck::Statics::output, spec);
      if (next.dates < spec.dates && plan.fusing_neck == options.neck.size()) plan.fusing_neck = i;
      spec = std::move(next);
      if (plan.fusing_neck == options.neck.size()) plan.per_date = spec;
    }
    plan.fused = std::move(spec);
  });
  const auto heads = [&](const std::vector<Slot<Head>>& slots, bool auxiliary,
                         std::vector<Head::Context>& contexts) {
    for (const Slot<Head>& slot : slots) {
      collect(problems, [&] {
        const bool per_date = slot.ask(&Head::Statics::per_date, context.labels);
        contexts.push_back({per_date ? plan.per_date : plan.fused, context.labels, auxiliary});
        slot.ask(&Head::Statics::check, contexts.back());
      });
    }
  };
  if (known) {
    heads(options.decode_head, false, plan.decode_heads);
    heads(options.auxiliary_head, true, plan.auxiliary_heads);
  }
  if (!problems.empty()) throw ConfigError(std::move(problems));
  Preprocessor(options.preprocessor, context.image_channels);
  return plan;
}

Composition::Composition(const CompositionOptions& options, const Context& context,
                         std::int64_t dates, bool joint, const FeatureStep& after_backbone)
    : dates_(dates), joint_(joint), preprocessor_(options.preprocessor, context.image_channels) {
  const CompositionPlan plan = Composition::plan(options, context, dates, after_backbone);
  fusing_neck_ = plan.fusing_neck;
  backbone_ = options.backbone.build({plan.image});
  register_module("backbone", backbone_);
  for (std::size_t i = 0; i < options.neck.size(); ++i) {
    necks_.push_back(options.neck[i].build({plan.necks[i]}));
  }
  if (necks_.size() == 1) {
    register_module("neck", necks_.front());
  } else if (!necks_.empty()) {
    torch::nn::ModuleList list;
    for (const auto& neck : necks_) list->push_back(neck);
    register_module("neck", list);
  }
  decode_heads_ = build_heads("decode_head", options.decode_head, plan.decode_heads);
  auxiliary_heads_ = build_heads("auxiliary_head", options.auxiliary_head, plan.auxiliary_heads);
  const auto all = parameters();
  if (!all.empty()) reference_ = all.front();
}

std::vector<Composition::HeadSlot> Composition::build_heads(
    const std::string& name, const std::vector<Slot<Head>>& slots,
    const std::vector<Head::Context>& contexts) {
  std::vector<HeadSlot> built;
  torch::nn::ModuleList list;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    HeadSlot slot;
    slot.name = slots.size() == 1 ? name : name + "." + std::to_string(i);
    slot.head = slots[i].build(contexts[i]);
    slot.per_date = slots[i].ask(&Head::Statics::per_date, contexts[i].labels);
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
  for (const auto* slots : {&decode_heads_, &auxiliary_heads_}) {
    for (const HeadSlot& slot : *slots) {
      slot.head->loss(run(slot, features), padded, slot.name, context, losses);
    }
  }
  return losses;
}

Outputs Composition::predict(const Batch& batch) {
  const Encoded features = encode(batch);
  const std::int64_t height = batch.height(), width = batch.width();
  Outputs outputs;
  std::set<std::string> names;
  for (const HeadSlot& slot : decode_heads_) {
    Outputs own;
    slot.head->predict(run(slot, features), preprocessor_.padded(height),
                       preprocessor_.padded(width), own);
    for (auto& [name, output] : own) {
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
