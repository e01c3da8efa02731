#include "framework/engine/runner.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/base/philox.hpp"
#include "framework/config/config.hpp"
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

bool more_is_better(const std::string& score, const std::string& rule) {
  if (rule != "auto") return rule == "max";
  return score.find("loss") == std::string::npos && score.find("error") == std::string::npos;
}

std::string number_text(double value) {
  const double size = std::abs(value);
  return size != 0 && (size < 1e-3 || size >= 1e5) ? fmt::format("{:.3e}", value)
                                                   : fmt::format("{:.4f}", value);
}

/// What a resumed run must share with the one before: all of model, data and optimizer but how many
/// threads read.
std::map<std::string, std::string> shared_keys(const std::string& config, const std::string& name) {
  std::map<std::string, std::string> keys;
  const config::Document document = config::load_text(config, name);
  for (const auto& [path, value] : config::leaves(document.root)) {
    const bool shared =
        path.starts_with("model.") || path.starts_with("data.") || path.starts_with("optimizer.");
    if (shared && !path.ends_with(".workers") && !path.ends_with(".prefetch")) {
      keys[path] = value->str();
    }
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

std::string key_of(const std::string& optimizer, const std::string& state) {
  return optimizer.empty() ? state : optimizer + "/" + state;
}

}  // namespace

BatchSource::~BatchSource() = default;

class Runner::Implementation {
 public:
  Implementation(RunParts parts, RunSettings settings)
      : parts_(std::move(parts)), settings_(std::move(settings)), context_(*this) {
    std::stable_sort(parts_.hooks.begin(), parts_.hooks.end(), [](const auto& a, const auto& b) {
      return a.second->priority() < b.second->priority();
    });
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
      const std::int64_t batches = owner_.settings_.train.accumulate;
      (batches == 1 ? loss : loss / batches).backward();
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
  void train_step();
  void step_by_name(const std::string& name);
  void update(const Trainer& trainer);
  void check_finite();
  void time_start();
  void log_step();
  void show_progress();
  void validate();
  void consider(const Scores& scores);
  void save();
  void drop_old_checkpoints();
  Json state_json() const;
  template <class Call>
  void for_hooks(Call&& call) {
    for (auto& [name, hook] : parts_.hooks) call(*hook);
  }
  bool due(std::int64_t interval) const { return interval > 0 && state_.step % interval == 0; }
  bool validation_due() const {
    return parts_.validate && (due(settings_.validation_interval) || state_.step == state_.steps);
  }
  bool checkpoint_due() const {
    return due(settings_.train.checkpoint_interval.value_or(settings_.validation_interval)) ||
           state_.step == state_.steps;
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
  RunState state_;
  Batch batch_;
  Losses losses_;
  Window window_;
  Best best_;
  Pace pace_;
  std::optional<JsonLines> scalars_, timing_;
  Pace::Clock::time_point shown_{};
  std::int64_t batches_ = 0;     // taken from the source, whole run
  std::int64_t validated_ = -1;  // step of the newest validation
  std::int64_t saved_ = -1;      // step of the newest checkpoint
  std::int64_t first_step_ = 0;  // where this process began
  double waited_ = 0.0;          // for data, up to the newest log line
  std::string running_loss_;
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
    const fs::path from = fs::path(settings_.resume).parent_path();
    std::error_code error;
    if (fs::equivalent(from, settings_.work_dir, error)) {
      keep_up_to(settings_.work_dir, state_.step);
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
  parts_.batches->seek(batches_);
  first_step_ = state_.step;
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
      std::error_code ignored;  // a checkpoint too many is no reason to end a run
      fs::remove_all(path, ignored);
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
  log::info("resumed from {}: step {} of {}", settings_.resume, state_.step, state_.steps);
}

void Runner::Implementation::update(const Trainer& trainer) {
  const auto& clip = settings_.train.clip_grad;
  if (clip) {
    std::vector<at::Tensor> own;
    for (const ParameterGroup& group : trainer.optimizer->groups()) {
      for (const at::Tensor& parameter : group.parameters) {
        if (parameter.grad().defined()) own.push_back(parameter);
      }
    }
    if (own.empty()) return;  // the model has stepped it already
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
    if ((batches_ + 1) % settings_.train.accumulate == 0) {
      update(trainer);
      trainer.optimizer->zero_grad();  // the common update finds nothing left to do
    }
    return;
  }
  throw std::logic_error("the model steps an optimizer that does not exist: " + name);
}

void Runner::Implementation::train_step() {
  if (parts_.freezer && parts_.freezer->apply(state_.step)) set_modes();
  for_hooks([&](Hook& hook) { hook.before_step(state_); });
  const std::int64_t count = settings_.train.accumulate;
  const double weight = 1.0 / static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) {
    batch_ =
        inference::to_device(parts_.batches->next(), settings_.device, settings_.channels_last);
    if (state_.step == first_step_ && i == 0) time_start();
    context_.step_number = state_.step;
    context_.random = Philox(settings_.seed, kStepStreams + static_cast<std::uint64_t>(batches_));
    seed_torch(settings_.seed, static_cast<std::uint64_t>(batches_));
    losses_ = parts_.model->train_step(batch_, context_);
    ++batches_;
    window_.add({{"loss", losses_.total()}}, weight);
    window_.add(losses_.terms, weight);
    window_.add(losses_.logged, weight);
  }
  for (const Trainer& trainer : parts_.trainers) {
    update(trainer);
    trainer.optimizer->zero_grad();
  }
  ++state_.step;
  if (settings_.samples_in_epoch > 0) {
    state_.epoch = batches_ * settings_.batch_size / settings_.samples_in_epoch;
  }
  state_.batch = &batch_;
  state_.losses = &losses_;
  for_hooks([&](Hook& hook) { hook.after_step(state_); });
  for (const auto& [name, value] : state_.logged) window_.add(name, value);
  state_.logged.clear();
}

void Runner::Implementation::check_finite() {
  if (settings_.train.on_nan == "ignore") return;
  const std::string name = window_.not_finite();
  if (name.empty()) return;
  throw UserError(fmt::format(
      "{}: {} is not finite at or shortly before step {}; lower optimizer.lr, set train.clip_grad, "
      "or look at the data with tools/browse --check (train.on_nan = \"ignore\" goes on){}",
      settings_.work_dir, name, state_.step,
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
  Json timing;
  timing["step"] = state_.step;
  timing["first_step_begins"] = seconds_since_start();
  timing["resident_mib"] = resident_memory_mib();
  timing_->add(timing.dump());
}

void Runner::Implementation::log_step() {
  const double seconds = pace_.take();
  const double waited = parts_.batches->seconds_waited();
  const std::int64_t steps =
      std::min(settings_.train.log_interval, std::max<std::int64_t>(state_.step - first_step_, 1));
  const double data_seconds = (waited - waited_) / static_cast<double>(steps);
  waited_ = waited;
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
  timing["memory_mib"] = peak_memory_mib();
  scalars_->add(line.dump());
  timing_->add(timing.dump());
  log::info("{}  time {:.3f}  data {:.3f}  memory {} MiB", text, seconds, data_seconds,
            peak_memory_mib());
}

void Runner::Implementation::validate() {
  const auto begun = Pace::Clock::now();
  parts_.model->eval();
  Scores scores;
  {
    // Not inference mode: what a model caches while it is measured may later be part of a graph.
    const at::NoGradGuard no_grad;
    scores = parts_.validate([] { return InterruptGuard::raised(); });
  }
  set_modes();
  if (InterruptGuard::raised()) return;  // measured in part; a resumed run begins with it
  validated_ = state_.step;
  state_.scores = scores;
  Json line;
  line["step"] = state_.step;
  std::string text = fmt::format("validation of step {}:", state_.step);
  for (const auto& [name, value] : scores) {
    line["val." + name] = value;
    // Per-class numbers are in scalars.jsonl; a line of all of them helps nobody.
    if (name.find('.') == std::string::npos || name == settings_.best) {
      text += fmt::format("  {} {}", name, number_text(value));
    }
  }
  scalars_->add(line.dump());
  const std::chrono::duration<double> seconds = Pace::Clock::now() - begun;
  timing_->add(Json{{"step", state_.step}, {"validation_time", seconds.count()}}.dump());
  log::info("{}", text);
  consider(scores);
  for_hooks([&](Hook& hook) { hook.after_validation(state_); });
}

void Runner::Implementation::consider(const Scores& scores) {
  if (scores.empty()) return;
  const std::string name = settings_.best.empty() ? scores.front().first : settings_.best;
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
  for_hooks([&](Hook& hook) { hook.before_run(state_); });
  const std::int64_t end = std::min(state_.steps, settings_.train.stop_at.value_or(state_.steps));
  // An interrupted validation is the first thing that a resumed run owes.
  bool owed = state_.step > 0 && validation_due() && validated_ != state_.step;
  while (!state_.stop && !InterruptGuard::raised() && (owed || state_.step < end)) {
    if (!owed) {
      pace_.begin();
      train_step();
      pace_.end();
      show_progress();
      const bool logging = due(settings_.train.log_interval) || state_.step == state_.steps;
      if (logging || checkpoint_due()) check_finite();
      if (logging) log_step();
    }
    owed = false;
    if (validation_due() && validated_ != state_.step) validate();
    if (!InterruptGuard::raised() && (checkpoint_due() || best_.step == state_.step)) save();
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
