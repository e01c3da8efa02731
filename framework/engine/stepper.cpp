#include "framework/engine/stepper.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <fmt/format.h>

#include <mutex>
#include <stdexcept>

#include "framework/base/log.hpp"
#include "framework/base/philox.hpp"
#include "framework/inference/serving.hpp"
#include "framework/optim/clip.hpp"

namespace strata::engine {
namespace {

// Streams of the run's generator that no sample draw uses (those count from 0).
constexpr std::uint64_t kStepStreams = std::uint64_t{1} << 63;

/// Dropout and the like draw from LibTorch's own generator. Seeding it for each batch from the
/// run's seed and the batch's number leaves no state to save.
void seed_torch(std::uint64_t seed, std::uint64_t batch) {
  const auto words = philox4x32_10(
      {static_cast<std::uint32_t>(batch), static_cast<std::uint32_t>(batch >> 32), 0, 1},
      {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::uint64_t mixed = words[0] | (static_cast<std::uint64_t>(words[1]) << 32);
  if (at::hasCUDA()) {
    at::manual_seed(mixed);
    return;
  }
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(mixed);
}

// Steps left out in a row after which half precision is given up: the factor has gone from 65536
// to 2e-8 then, and it is not the scale that makes gradients overflow.
constexpr int kMostSkips = 41;

/// What a batch was read from, for messages.
std::string files_of(const Batch& batch) {
  constexpr std::size_t kMost = 8;
  std::string text;
  std::size_t count = 0;
  for (const SampleMeta& sample : batch.meta) {
    for (const std::string& path : sample.paths) {
      if (++count <= kMost) text += (text.empty() ? "" : ", ") + path;
    }
  }
  return count > kMost ? fmt::format("{} and {} more", text, count - kMost) : text;
}

/// Backward is done: nothing needs the graphs, which would live until the next step.
Losses without_graphs(Losses losses) {
  for (auto* values : {&losses.terms, &losses.logged}) {
    for (auto& [name, value] : *values) value = value.detach();
  }
  return losses;
}

}  // namespace

/// The engine's side of a step, as the model sees it.
class Stepper::Context final : public TrainContext {
 public:
  explicit Context(Stepper& owner) : owner_(owner) {}
  void backward(const at::Tensor& loss) override {
    // Gradients have the precision of what they are gradients of.
    const Autocast off(owner_.settings_.device.type(), std::nullopt);
    const double factor = (owner_.scaler_ ? owner_.scaler_->scale() : 1.0) /
                          static_cast<double>(owner_.settings_.train.accumulate);
    (factor == 1.0 ? loss : loss * factor).backward();
  }
  using TrainContext::global_count;
  at::Tensor global_count(const at::Tensor& labels, const Count& count) override {
    if (owner_.step_batches_.size() == 1) return count(labels);
    Derive of;
    for (const auto& [name, target] : owner_.batch().targets) {
      if (!target.data.is_same(labels)) continue;
      of = [name = name](const Batch& batch) { return batch.targets.at(name).data; };
    }
    for (const auto& [made, derive] : derived_) {
      if (made.is_same(labels)) of = derive;
    }
    if (!of) return count(labels);
    at::Tensor sum;
    for (const Batch& batch : owner_.step_batches_) {
      const at::Tensor one = count(of(batch)).to(at::kDouble);
      sum = sum.defined() ? sum + one : one;
    }
    return sum / static_cast<double>(owner_.step_batches_.size());
  }
  void derived(const at::Tensor& labels, Derive derive) override {
    derived_.emplace_back(labels, std::move(derive));
  }
  /// The next batch: what was derived from the one before is gone.
  void begin(std::int64_t step, const Philox& draws) {
    step_number = step;
    random = draws;
    derived_.clear();
  }
  void step(const std::string& optimizer) override { owner_.step_by_name(optimizer); }

 private:
  Stepper& owner_;
  std::vector<std::pair<at::Tensor, Derive>> derived_;
};

Stepper::Stepper(RunParts& parts, const RunSettings& settings)
    : parts_(parts), settings_(settings), amp_(amp_type(settings.train.amp)) {
  if (amp_ == at::kHalf) scaler_.emplace(*settings.train.amp);
}

void Stepper::seek(std::int64_t batch) {
  batches_ = batch;
  parts_.batches->seek(batch);
}

void Stepper::update(const Trainer& trainer) {
  std::vector<at::Tensor> own, gradients;
  for (const ParameterGroup& group : trainer.optimizer->groups()) {
    for (const at::Tensor& parameter : group.parameters) {
      if (!parameter.grad().defined()) continue;
      own.push_back(parameter);
      gradients.push_back(parameter.grad());
    }
  }
  if (own.empty()) return;
  if (scaler_ && !scaler_->unscale(gradients)) {
    overflow_ = true;
    return;
  }
  ++updates_;
  if (const auto& clip = settings_.train.clip_grad) {
    if (clip->max_value) optim::clip_grad_value(own, *clip->max_value);
    if (clip->max_norm) {
      const at::Tensor norm = optim::clip_grad_norm(own, *clip->max_norm);
      window_.add({{trainer.name.empty() ? "grad_norm" : trainer.name + ".grad_norm", norm}}, 1.0);
    }
  }
  trainer.optimizer->step(factor_of(trainer, done_));
}

void Stepper::step_by_name(const std::string& name) {
  for (const Trainer& trainer : parts_.trainers) {
    if (trainer.name != name) continue;
    // The model calls this once a batch; the step is due with the last one.
    if (micro_ + 1 == step_batches_.size()) {
      update(trainer);
      trainer.optimizer->zero_grad();
      stepped_.insert(name);
      Autocast::forget_weights();
    }
    return;
  }
  throw std::logic_error("the model steps an optimizer that does not exist: " + name);
}

void Stepper::load() {
  step_batches_.clear();
  losses_.clear();
  if (device_waits()) read_.clear();
  for (std::int64_t i = 0; i < settings_.train.accumulate; ++i) {
    step_batches_.push_back(
        inference::to_device(parts_.batches->next(), settings_.device, settings_.channels_last));
    read_.emplace_back(batches_ + i, files_of(step_batches_.back()));
  }
}

bool Stepper::step(std::int64_t done) {
  done_ = done;
  const std::int64_t first = batches_;
  overflow_ = false;
  updates_ = 0;
  stepped_.clear();
  Context context(*this);
  for (micro_ = 0; micro_ < step_batches_.size(); ++micro_) {
    context.begin(done,
                  Philox(settings_.seed, kStepStreams + static_cast<std::uint64_t>(batches_)));
    seed_torch(settings_.seed, static_cast<std::uint64_t>(batches_));
    const Autocast mixed(settings_.device.type(), amp_);
    losses_.push_back(without_graphs(parts_.model->train_step(batch(), context)));
    ++batches_;
  }
  --micro_;
  for (const Trainer& trainer : parts_.trainers) {
    // What the model has stepped itself may have gradients again: a generator's loss has some for
    // the discriminator that it goes through.
    if (!stepped_.contains(trainer.name)) update(trainer);
    trainer.optimizer->zero_grad();
  }
  if (left_out()) return false;
  const double weight = 1.0 / static_cast<double>(losses_.size());
  for (std::size_t i = 0; i < losses_.size(); ++i) {
    const std::int64_t number = first + static_cast<std::int64_t>(i);
    window_.add({{"loss", losses_[i].total()}}, weight, number);
    window_.add(losses_[i].terms, weight, number);
    window_.add(losses_[i].logged, weight, number);
  }
  return true;
}

/// Because no optimizer could be stepped.
bool Stepper::left_out() {
  if (!scaler_) return false;
  scaler_->update(overflow_);
  if (!overflow_ || updates_ > 0) {
    skips_ = 0;
    return false;
  }
  if (++skips_ >= kMostSkips) {
    throw UserError(fmt::format(
        "{}: no gradient was finite in {} steps in a row after step {}, at the last with {}; use "
        "train.amp = \"bf16\", lower optimizer.lr, or look at the data with tools/browse --check",
        settings_.work_dir, skips_, done_, read_.back().second));
  }
  log::info("gradients overflowed after step {}: the step was left out, the next factor is {:g}",
            done_, scaler_->scale());
  return true;
}

void Stepper::check_finite(std::int64_t done, std::int64_t saved) {
  if (settings_.train.on_nan == "ignore") return;
  const auto bad = window_.not_finite();
  if (!bad) return;
  std::string files;
  for (const auto& [number, paths] : read_) {
    if (number == bad->batch && !paths.empty()) files = "; its batch is " + paths;
  }
  const std::int64_t step =
      bad->batch < 0 || scaler_ ? done : bad->batch / settings_.train.accumulate + 1;
  throw UserError(fmt::format(
      "{}: {} is not finite in step {}{}; lower optimizer.lr, set train.clip_grad, or look at the "
      "data with tools/browse --check (train.on_nan = \"ignore\" goes on){}",
      settings_.work_dir, bad->name, step, files,
      saved < 0 ? "" : fmt::format("; the newest checkpoint is of step {}", saved)));
}

}  // namespace strata::engine
