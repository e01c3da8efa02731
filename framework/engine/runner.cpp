#include "framework/engine/runner.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/base/philox.hpp"
#include "framework/config/config.hpp"
#include "framework/engine/amp.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/interrupt.hpp"
#include "framework/engine/progress.hpp"
#include "framework/engine/window.hpp"
#include "framework/engine/work_dir.hpp"
#include "framework/inference/serving.hpp"
#include "framework/io/weights.hpp"
#include "framework/optim/clip.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

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

/// Peak of what tensors took of a GPU's memory.
std::int64_t peak_device_memory_mib(c10::Device device) {
  const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
             .peak >>
         20;
}

std::string number_text(double value) {
  const double size = std::abs(value);
  return size != 0 && (size < 1e-3 || size >= 1e5) ? fmt::format("{:.3e}", value)
                                                   : fmt::format("{:.4f}", value);
}

/// What a resumed run must share with the one before: all of model, data and optimizer but how many
/// threads read and what is kept in memory or files, on which no sample depends.
std::map<std::string, std::string> shared_keys(const std::string& config, const std::string& name) {
  std::map<std::string, std::string> keys;
  const config::Document document = config::load_text(config, name);
  for (const auto& [path, value] : config::leaves(document.root)) {
    const bool shared =
        path.starts_with("model.") || path.starts_with("data.") || path.starts_with("optimizer.");
    const bool no_matter =
        path.ends_with(".workers") || path.ends_with(".prefetch") || path.ends_with(".cache");
    if (shared && !no_matter) keys[path] = value->str();
  }
  return keys;
}

void require_same_config(const std::string& before, const std::string& now,
                         const std::string& checkpoint) {
  if (before == now) return;
  const std::string name = checkpoint + "/config.toml";
  const auto old_keys = shared_keys(before, name), new_keys = shared_keys(now, "config");
  std::map<std::string, std::pair<std::string, std::string>> all;
  for (const auto& [key, value] : old_keys) all[key] = {value, "nothing"};
  for (const auto& [key, value] : new_keys) {
    if (auto& entry = all[key]; entry.first.empty()) {
      entry = {"nothing", value};
    } else {
      entry.second = value;
    }
  }
  std::string lines;
  for (const auto& [key, values] : all) {
    if (values.first == values.second) continue;
    lines += fmt::format("\n  {}: was {}, now {}", key, values.first, values.second);
  }
  if (lines.empty()) return;
  throw CheckpointError(name +
                        ": a resumed run must have the same model, data and optimizer:" + lines);
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

std::string key_of(const std::string& optimizer, const std::string& state) {
  return optimizer.empty() ? state : optimizer + "/" + state;
}

}  // namespace

BatchSource::~BatchSource() = default;

class Runner::Implementation {
 public:
  Implementation(RunParts parts, RunSettings settings)
      : parts_(std::move(parts)),
        settings_(std::move(settings)),
        context_(*this),
        amp_(amp_type(settings_.train.amp)) {
    if (amp_ == at::kHalf) scaler_.emplace(*settings_.train.amp);
    std::stable_sort(parts_.hooks.begin(), parts_.hooks.end(), [](const auto& a, const auto& b) {
      return a.second->priority() < b.second->priority();
    });
    for (const auto& [name, hook] : parts_.hooks) {
      if (free_name(name)) continue;
      throw UserError("hooks." + name + ": a checkpoint has a file of this name; choose another");
    }
    state_.work_dir = settings_.work_dir;
    state_.steps = settings_.steps;
    state_.model = parts_.model.get();
  }

  RunEnd run();
  const RunState& state() const { return state_; }

 private:
  /// The engine's side of a step, as the model sees it.
  class Context final : public TrainContext {
   public:
    explicit Context(Implementation& owner) : owner_(owner) {}
    void backward(const at::Tensor& loss) override {
      // Gradients have the precision of what they are gradients of.
      const Autocast off(owner_.settings_.device.type(), std::nullopt);
      const double factor = (owner_.scaler_ ? owner_.scaler_->scale() : 1.0) /
                            static_cast<double>(owner_.settings_.train.accumulate);
      (factor == 1.0 ? loss : loss * factor).backward();
    }
    using TrainContext::global_count;
    at::Tensor global_count(const at::Tensor& labels, const Count& count) override {
      const std::string* name = nullptr;
      for (const auto& [key, target] : owner_.batch().targets) {
        if (target.data.is_same(labels)) name = &key;
      }
      if (owner_.step_batches_.size() == 1 || name == nullptr) return count(labels);
      at::Tensor sum;
      for (const Batch& batch : owner_.step_batches_) {
        const at::Tensor one = count(batch.targets.at(*name).data).to(at::kDouble);
        sum = sum.defined() ? sum + one : one;
      }
      return sum / static_cast<double>(owner_.step_batches_.size());
    }
    void step(const std::string& optimizer) override { owner_.step_by_name(optimizer); }

   private:
    Implementation& owner_;
  };

  struct Best {
    std::string name;
    double value = 0.0;
    std::int64_t step = -1;
  };

  void start();
  void resume();
  void set_modes();
  const Batch& batch() const { return step_batches_[micro_]; }
  bool train_step();
  void load_step();
  void step_by_name(const std::string& name);
  void update(const Trainer& trainer);
  bool check_overflow();
  void check_finite();
  void time_start();
  void log_step();
  void show_progress();
  void validate();
  void add_line(const Json& line);
  void consider(const Scores& scores);
  void save();
  void drop_old_checkpoints();
  Json state_json() const;
  template <class Call>
  void for_hooks(Call&& call) {
    for (auto& [name, hook] : parts_.hooks) call(*hook);
  }
  /// Whether a value can be read at no cost.
  bool device_waits() const { return settings_.device.is_cpu(); }
  bool due(std::int64_t interval) const { return interval > 0 && state_.step % interval == 0; }
  bool validation_due() const {
    return parts_.validate && (due(settings_.validation_interval) || state_.step == state_.steps);
  }
  bool checkpoint_due() const {
    return due(settings_.train.checkpoint_interval.value_or(settings_.validation_interval)) ||
           state_.step == state_.steps;
  }
  std::int64_t epoch() const {
    if (settings_.samples_in_epoch == 0) return 0;
    return batches_ * settings_.batch_size / settings_.samples_in_epoch;
  }
  double factor_of(const Trainer& trainer, std::int64_t step) const {
    return trainer.schedule ? trainer.schedule->factor(step) : 1.0;
  }
  std::string file(const char* name) const {
    return (fs::path(settings_.work_dir) / name).string();
  }

  RunParts parts_;
  RunSettings settings_;
  Context context_;
  std::optional<at::ScalarType> amp_;
  std::optional<GradScaler> scaler_;
  RunState state_;
  std::vector<Batch> step_batches_;                        // of the step under way, all of them
  std::vector<Losses> losses_;                             // of these
  std::size_t micro_ = 0;                                  // which of them the model is given
  bool overflow_ = false;                                  // in the step under way
  std::int64_t updates_ = 0;                               // of optimizers, in the step under way
  std::set<std::string> stepped_;                          // optimizers, by the model itself in it
  int skips_ = 0;                                          // steps left out in a row
  std::deque<std::pair<std::int64_t, std::string>> read_;  // batches since the last log line
  Window window_;
  Best best_;
  Pace pace_;
  std::optional<JsonLines> scalars_, timing_;
  Pace::Clock::time_point shown_{};
  std::int64_t batches_ = 0;     // taken from the source, whole run
  std::int64_t validated_ = -1;  // step of the newest validation
  std::int64_t saved_ = -1;      // step of the newest checkpoint
  std::int64_t logged_ = 0;      // step of the newest log line, or where this process began
  double waited_ = 0.0;          // for data, up to the newest log line
  std::string running_loss_;
  bool started_ = false;  // time_start() was called
};

void Runner::Implementation::set_modes() {
  parts_.model->train();
  if (parts_.freezer) parts_.freezer->fix_modes(state_.step);
}

void Runner::Implementation::start() {
  std::string history;
  if (settings_.resume.empty()) {
    prepare_work_dir(settings_.work_dir);
  } else {
    resume();
    // As it was given it may end in a slash, or be a link.
    const fs::path from = fs::canonical(settings_.resume).parent_path();
    std::error_code error;
    if (fs::equivalent(from, settings_.work_dir, error)) {
      remove_remains(settings_.work_dir);
      keep_up_to(settings_.work_dir, state_.step);
      // A better one of the branch that is given up may have taken the link.
      for (const auto& [step, path] : checkpoints_in(settings_.work_dir)) {
        if (step == best_.step) mark_best(settings_.work_dir, step);
      }
    } else {
      prepare_work_dir(settings_.work_dir);
      history = from.string();
    }
  }
  const std::int64_t kept = settings_.resume.empty() ? -1 : state_.step;
  const auto source = [&](const char* name) {
    return history.empty() ? "" : (fs::path(history) / name).string();
  };
  log::set_file(file("train.log"));
  scalars_.emplace(file("scalars.jsonl"), kept, source("scalars.jsonl"));
  timing_.emplace(file("timing.jsonl"), kept, source("timing.jsonl"));
  write_text(file("config.toml"), settings_.config);
  for (const auto& [name, text] : settings_.notes) write_text(file(name.c_str()), text);
  parts_.batches->seek(batches_);
  state_.epoch = epoch();
  logged_ = state_.step;
  if (parts_.freezer) parts_.freezer->apply(state_.step);
  set_modes();
}

Json Runner::Implementation::state_json() const {
  Json json;
  json["step"] = state_.step;
  json["steps"] = state_.steps;
  json["batches"] = batches_;
  json["seed"] = settings_.seed;
  json["threads"] = at::get_num_threads();
  json["validated"] = validated_;
  json["scores"] = Json::array();
  for (const auto& [name, value] : state_.scores) json["scores"].push_back({name, value});
  if (best_.step >= 0) {
    json["best"] = {{"name", best_.name}, {"value", best_.value}, {"step", best_.step}};
  }
  json["hooks"] = Json::object();
  for (const auto& [name, hook] : parts_.hooks) {
    if (std::string text = hook->save_state(); !text.empty()) json["hooks"][name] = std::move(text);
  }
  if (scaler_) json["scaler"] = scaler_->save();
  return json;
}

void Runner::Implementation::save() {
  Checkpoint checkpoint;
  checkpoint.model = io::state_of(*parts_.model);
  for (const Trainer& trainer : parts_.trainers) {
    for (auto& [name, tensor] : trainer.optimizer->state()) {
      checkpoint.optimizer.emplace_back(key_of(trainer.name, name), std::move(tensor));
    }
  }
  for (const auto& [name, hook] : parts_.hooks) {
    TensorMap tensors = hook->save_tensors();
    if (tensors.empty()) continue;
    checkpoint.hooks.emplace_back(name, std::move(tensors));
    if (hook->gives_weights()) checkpoint.served = name;
  }
  Json json = state_json();
  json["window"] = window_.save();
  checkpoint.state = json.dump(2) + "\n";
  checkpoint.config = settings_.config;
  checkpoint.plugins = settings_.plugins;
  write_checkpoint(settings_.work_dir, state_.step, checkpoint);
  saved_ = state_.step;
  if (best_.step == state_.step) mark_best(settings_.work_dir, state_.step);
  drop_old_checkpoints();
}

void Runner::Implementation::drop_old_checkpoints() {
  std::int64_t kept = 0;
  auto all = checkpoints_in(settings_.work_dir);
  for (auto one = all.rbegin(); one != all.rend(); ++one) {
    const auto& [step, path] = *one;
    if (kept < settings_.train.keep_last) {
      ++kept;
    } else if (step != best_.step) {
      remove_checkpoint(path);
    }
  }
}

void Runner::Implementation::resume() {
  const Checkpoint checkpoint = read_checkpoint(settings_.resume);
  require_same_config(checkpoint.config, settings_.config, settings_.resume);
  Json json;
  try {
    json = Json::parse(checkpoint.state);
    state_.step = json.at("step").get<std::int64_t>();
    batches_ = json.at("batches").get<std::int64_t>();
    validated_ = json.at("validated").get<std::int64_t>();
    saved_ = state_.step;
    for (const auto& score : json.at("scores")) {
      const Json& value = score.at(1);  // null: not a number, of a class that never occurred
      state_.scores.emplace_back(score.at(0).get<std::string>(),
                                 value.is_null() ? std::nan("") : value.get<double>());
    }
    if (const auto best = json.find("best"); best != json.end()) {
      best_ = {best->at("name").get<std::string>(), best->at("value").get<double>(),
               best->at("step").get<std::int64_t>()};
    }
    window_.load(json.at("window").get<std::string>());
    for (auto& [name, hook] : parts_.hooks) {
      const auto saved = json.at("hooks").find(name);
      if (saved != json.at("hooks").end()) hook->load_state(saved->get<std::string>());
      for (const auto& [key, tensors] : checkpoint.hooks) {
        if (key == name) hook->load_tensors(tensors);
      }
    }
    if (const auto saved = json.find("scaler"); scaler_ && saved != json.end()) {
      scaler_->load(saved->get<std::string>());
    }
    if (json.at("seed").get<std::uint64_t>() != settings_.seed) {
      throw CheckpointError(
          fmt::format("{}: was trained with seed {}, the config has runtime.seed {}; a resumed run "
                      "keeps its seed",
                      settings_.resume, json.at("seed").get<std::uint64_t>(), settings_.seed));
    }
    if (json.at("threads").get<int>() != at::get_num_threads()) {
      log::warning("{}: was trained with {} threads, now {}: sums may round differently",
                   settings_.resume, json.at("threads").get<int>(), at::get_num_threads());
    }
  } catch (const Json::exception& error) {
    throw CheckpointError(settings_.resume + "/state.json: is not a run's state: " + error.what());
  }
  io::load_state(*parts_.model, checkpoint.model, settings_.resume);
  for (const Trainer& trainer : parts_.trainers) {
    const std::string prefix = key_of(trainer.name, "");
    std::vector<std::pair<std::string, at::Tensor>> own;
    for (const auto& [name, tensor] : checkpoint.optimizer) {
      if (name.starts_with(prefix)) own.emplace_back(name.substr(prefix.size()), tensor);
    }
    trainer.optimizer->load_state(own);
  }
  state_.resumed = true;
  log::info("resumed from {}: step {} of {}", settings_.resume, state_.step, state_.steps);
}

void Runner::Implementation::update(const Trainer& trainer) {
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
  trainer.optimizer->step(factor_of(trainer, state_.step));
}

void Runner::Implementation::step_by_name(const std::string& name) {
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

/// All batches of a step at once: how many of their pixels count must be known for the first.
void Runner::Implementation::load_step() {
  step_batches_.clear();
  losses_.clear();
  if (device_waits()) read_.clear();
  for (std::int64_t i = 0; i < settings_.train.accumulate; ++i) {
    step_batches_.push_back(
        inference::to_device(parts_.batches->next(), settings_.device, settings_.channels_last));
    read_.emplace_back(batches_ + i, files_of(step_batches_.back()));
  }
}

/// False when gradients overflowed and the step was left out; its batches are used up.
bool Runner::Implementation::train_step() {
  if (parts_.freezer && parts_.freezer->apply(state_.step)) set_modes();
  for_hooks([&](Hook& hook) { hook.before_step(state_); });
  load_step();
  if (!started_) time_start();
  const std::int64_t first = batches_;
  overflow_ = false;
  updates_ = 0;
  stepped_.clear();
  for (micro_ = 0; micro_ < step_batches_.size(); ++micro_) {
    context_.step_number = state_.step;
    context_.random = Philox(settings_.seed, kStepStreams + static_cast<std::uint64_t>(batches_));
    seed_torch(settings_.seed, static_cast<std::uint64_t>(batches_));
    const Autocast mixed(settings_.device.type(), amp_);
    losses_.push_back(without_graphs(parts_.model->train_step(batch(), context_)));
    ++batches_;
  }
  --micro_;
  for (const Trainer& trainer : parts_.trainers) {
    // What the model has stepped itself may have gradients again: a generator's loss has some for
    // the discriminator that it goes through.
    if (!stepped_.contains(trainer.name)) update(trainer);
    trainer.optimizer->zero_grad();
  }
  if (check_overflow()) return false;
  const double weight = 1.0 / static_cast<double>(losses_.size());
  for (std::size_t i = 0; i < losses_.size(); ++i) {
    const std::int64_t number = first + static_cast<std::int64_t>(i);
    window_.add({{"loss", losses_[i].total()}}, weight, number);
    window_.add(losses_[i].terms, weight, number);
    window_.add(losses_[i].logged, weight, number);
  }
  ++state_.step;
  state_.epoch = epoch();
  if (device_waits()) check_finite();
  state_.batch = &batch();
  state_.losses = &losses_.back();
  for_hooks([&](Hook& hook) { hook.after_step(state_); });
  for (const auto& [name, value] : state_.logged) window_.add(name, value);
  state_.logged.clear();
  return true;
}

/// Whether the step is to be left out because no optimizer could be stepped.
bool Runner::Implementation::check_overflow() {
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
        settings_.work_dir, skips_, state_.step, read_.back().second));
  }
  log::info("gradients overflowed after step {}: the step was left out, the next factor is {:g}",
            state_.step, scaler_->scale());
  return true;
}

void Runner::Implementation::check_finite() {
  if (settings_.train.on_nan == "ignore") return;
  const auto bad = window_.not_finite();
  if (!bad) return;
  std::string files;
  for (const auto& [number, paths] : read_) {
    if (number == bad->batch && !paths.empty()) files = "; its batch is " + paths;
  }
  const std::int64_t step =
      bad->batch < 0 || scaler_ ? state_.step : bad->batch / settings_.train.accumulate + 1;
  throw UserError(fmt::format(
      "{}: {} is not finite in step {}{}; lower optimizer.lr, set train.clip_grad, or look at the "
      "data with tools/browse --check (train.on_nan = \"ignore\" goes on){}",
      settings_.work_dir, bad->name, step, files,
      saved_ < 0 ? "" : fmt::format("; the newest checkpoint is of step {}", saved_)));
}

void Runner::Implementation::show_progress() {
  if (!log::is_terminal()) return;
  const auto now = Pace::Clock::now();
  if (now - shown_ < std::chrono::milliseconds(100) && state_.step != state_.steps) return;
  shown_ = now;
  const double share = static_cast<double>(state_.step) / static_cast<double>(state_.steps);
  log::status(fmt::format(
      "{} {}/{}  {:.2f} s/step  eta {}{}", bar_text(share, 30), state_.step, state_.steps,
      pace_.smooth(), duration_text(pace_.remaining(state_.steps - state_.step)), running_loss_));
}

/// What a run costs before it trains: the first batch is there, the model is about to run.
void Runner::Implementation::time_start() {
  started_ = true;
  Json timing;
  timing["step"] = state_.step;
  timing["first_step_begins"] = seconds_since_start();
  timing["resident_mib"] = resident_memory_mib();
  timing_->add(timing.dump());
}

void Runner::Implementation::log_step() {
  const double seconds = pace_.take();
  const double waited = parts_.batches->seconds_waited();
  const double data_seconds = (waited - waited_) / static_cast<double>(state_.step - logged_);
  waited_ = waited;
  logged_ = state_.step;
  Json line, timing;
  line["step"] = state_.step;
  if (settings_.samples_in_epoch > 0) line["epoch"] = state_.epoch;
  std::string text = fmt::format("step {}/{}  eta {}", state_.step, state_.steps,
                                 duration_text(pace_.remaining(state_.steps - state_.step)));
  for (const Trainer& trainer : parts_.trainers) {
    // Of the step just done, of the first group; the others keep their ratio to it.
    const double lr = trainer.optimizer->groups().front().lr * factor_of(trainer, state_.step - 1);
    const std::string name = trainer.name.empty() ? "lr" : "lr." + trainer.name;
    line[name] = lr;
    text += fmt::format("  {} {:.3e}", name, lr);
  }
  for (const auto& [name, mean] : window_.take()) {
    line[name] = mean;
    text += fmt::format("  {} {}", name, number_text(mean));
    if (name == "loss") running_loss_ = "  loss " + number_text(mean);
  }
  timing["step"] = state_.step;
  timing["time"] = seconds;
  timing["data_time"] = data_seconds;
  const std::int64_t samples = settings_.batch_size * settings_.train.accumulate;
  timing["samples_per_second"] = seconds > 0 ? static_cast<double>(samples) / seconds : 0.0;
  timing["memory_mib"] = peak_memory_mib();
  if (!settings_.device.is_cpu())
    timing["device_memory_mib"] = peak_device_memory_mib(settings_.device);
  add_line(line);
  timing_->add(timing.dump());
  read_.clear();
  log::info(
      "{}  time {:.3f}  data {:.3f}  memory {} MiB", text, seconds, data_seconds,
      settings_.device.is_cpu() ? peak_memory_mib() : peak_device_memory_mib(settings_.device));
}

/// To scalars.jsonl and to hooks.
void Runner::Implementation::add_line(const Json& line) {
  scalars_->add(line.dump());
  Hook::Numbers numbers;
  for (const auto& [name, value] : line.items()) {
    if (name != "step" && value.is_number()) numbers.emplace_back(name, value.get<double>());
  }
  for_hooks([&](Hook& hook) { hook.after_log(state_, numbers); });
}

void Runner::Implementation::validate() {
  const auto begun = Pace::Clock::now();
  parts_.model->eval();
  state_.pictures.clear();
  Scores scores;
  {
    // Taken back last first: a second hook has changed what the first one had made of the model.
    struct Meanwhile {
      ~Meanwhile() {
        while (!all.empty()) all.pop_back();
      }
      std::vector<std::shared_ptr<void>> all;
    } meanwhile;
    for_hooks([&](Hook& hook) { meanwhile.all.push_back(hook.during_validation(state_)); });
    // Not inference mode: what a model caches while it is measured may later be part of a graph.
    const at::NoGradGuard no_grad;
    scores = parts_.validate(
        [] { return InterruptGuard::raised(); },
        [&](const std::string& set, const Batch& batch, const Outputs& outputs) {
          for_hooks([&](Hook& hook) { hook.on_validation_batch(state_, set, batch, outputs); });
        });
  }
  set_modes();
  if (InterruptGuard::raised()) return;  // measured in part; a resumed run begins with it
  validated_ = state_.step;
  state_.scores = scores;
  Json line;
  line["step"] = state_.step;
  std::string text = fmt::format("validation of step {}:", state_.step);
  const std::vector<bool> on_the_line = summaries(scores);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const auto& [name, value] = scores[i];
    line["val." + name] = value;
    if (on_the_line[i] || name == settings_.best) {
      text += fmt::format("  {} {}", name, number_text(value));
    }
  }
  add_line(line);
  const std::chrono::duration<double> seconds = Pace::Clock::now() - begun;
  timing_->add(Json{{"step", state_.step}, {"validation_time", seconds.count()}}.dump());
  log::info("{}", text);
  if (const std::string tables = parts_.tables ? parts_.tables() : ""; !tables.empty()) {
    log::write_to_file("validation of step " + std::to_string(state_.step) + "\n" + tables);
  }
  consider(scores);
  for_hooks([&](Hook& hook) { hook.after_validation(state_); });
}

void Runner::Implementation::consider(const Scores& scores) {
  if (scores.empty()) return;
  const std::string name = settings_.best.empty() ? summary_score(scores) : settings_.best;
  const auto place = std::find_if(scores.begin(), scores.end(),
                                  [&](const auto& score) { return score.first == name; });
  if (place == scores.end()) {
    std::vector<std::string> names;
    for (const auto& score : scores) names.push_back(score.first);
    throw UserError("evaluate.best: the metrics give no such number, got \"" + name + "\"" +
                    did_you_mean(name, names));
  }
  const double value = place->second;
  if (std::isnan(value)) return;
  const bool better =
      best_.step < 0 || best_.name != name ||
      (more_is_better(name, settings_.best_rule) ? value > best_.value : value < best_.value);
  if (!better) return;
  best_ = {name, value, state_.step};
  log::info("best {} so far: {} at step {}", name, number_text(value), state_.step);
}

RunEnd Runner::Implementation::run() {
  const InterruptGuard interrupt;
  struct LogFile {
    ~LogFile() {
      log::status("");
      log::set_file("");
    }
  } const log_file;
  start();
  if (!parts_.hooks.empty()) {
    std::string order;
    for (const auto& [name, hook] : parts_.hooks) {
      order += fmt::format("{}{} ({})", order.empty() ? "" : ", ", name, hook->priority());
    }
    log::info("hooks by priority: {}", order);
  }
  for_hooks([&](Hook& hook) { hook.before_run(state_); });
  const std::int64_t end = std::min(state_.steps, settings_.train.stop_at.value_or(state_.steps));
  // An interrupted validation is the first thing that a resumed run owes.
  bool owed = state_.step > 0 && validation_due() && validated_ != state_.step;
  while (!state_.stop && !InterruptGuard::raised() && (owed || state_.step < end)) {
    if (!owed) {
      pace_.begin();
      if (!train_step()) continue;
      pace_.end();
      show_progress();
      const bool logging = due(settings_.train.log_interval) || state_.step == state_.steps;
      if (logging || checkpoint_due() || validation_due()) check_finite();
      if (logging) log_step();
    }
    if (validation_due() && validated_ != state_.step) validate();
    // What was owed is paid for good: its line is in scalars.jsonl, and a run that is resumed from
    // here once more must not write it again.
    const bool saving = owed || checkpoint_due() || best_.step == state_.step;
    if (saving && !InterruptGuard::raised()) save();
    owed = false;
  }
  const bool finished = state_.step == state_.steps && !InterruptGuard::raised();
  if (saved_ != state_.step && state_.step > 0) {
    check_finite();
    save();
  }
  for_hooks([&](Hook& hook) { hook.after_run(state_); });
  log::status("");
  if (InterruptGuard::raised()) {
    log::info("interrupted after step {} of {}; go on with --resume", state_.step, state_.steps);
    return RunEnd::interrupted;
  }
  if (!finished) log::info("stopped after step {} of {}", state_.step, state_.steps);
  return finished ? RunEnd::finished : RunEnd::stopped;
}

Runner::Runner(RunParts parts, RunSettings settings)
    : implementation_(std::make_unique<Implementation>(std::move(parts), std::move(settings))) {}

Runner::~Runner() = default;

RunEnd Runner::run() { return implementation_->run(); }

const RunState& Runner::state() const { return implementation_->state(); }

std::int64_t steps_of(const TrainOptions& train, std::int64_t samples_in_epoch,
                      std::int64_t batch_size) {
  if (train.steps.has_value() == train.epochs.has_value()) {
    throw OptionError(train.steps ? "epochs" : "steps",
                      train.steps ? "says the same as train.steps; give one of them"
                                  : "is missing: say how long to train, in steps or in epochs");
  }
  if (train.steps) return *train.steps;
  const std::int64_t draws = *train.epochs * samples_in_epoch;
  return std::max<std::int64_t>(draws / (batch_size * train.accumulate), 1);
}

std::int64_t validation_interval(const EvaluateOptions& evaluate, const TrainOptions& train,
                                 std::int64_t steps, std::int64_t samples_in_epoch,
                                 std::int64_t batch_size) {
  if (evaluate.interval) return *evaluate.interval;
  if (evaluate.interval_epochs || train.epochs) {
    const std::int64_t draws = evaluate.interval_epochs.value_or(1) * samples_in_epoch;
    return std::max<std::int64_t>(draws / (batch_size * train.accumulate), 1);
  }
  return std::max<std::int64_t>(steps / 10, 1);
}

}  // namespace strata::engine
