#include "framework/engine/runner.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/base/files.hpp"
#include "framework/base/log.hpp"
#include "framework/config/config.hpp"
#include "framework/engine/checkpoint.hpp"
#include "framework/engine/interrupt.hpp"
#include "framework/engine/run_log.hpp"
#include "framework/engine/stepper.hpp"
#include "framework/engine/work_dir.hpp"
#include "framework/io/weights.hpp"

namespace strata::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

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
        stepper_(parts_, settings_),
        log_(settings_) {
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
  struct Best {
    std::string name;
    double value = 0.0;
    std::int64_t step = -1;
  };

  void start();
  void resume();
  void set_modes();
  bool train_step();
  void check_finite() { stepper_.check_finite(state_.step, saved_); }
  void log_step();
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
  std::int64_t epoch() const {
    if (settings_.samples_in_epoch == 0) return 0;
    return stepper_.batches() * settings_.batch_size / settings_.samples_in_epoch;
  }
  std::string file(const char* name) const {
    return (fs::path(settings_.work_dir) / name).string();
  }

  RunParts parts_;
  RunSettings settings_;
  Stepper stepper_;
  RunLog log_;
  RunState state_;
  Best best_;
  std::int64_t validated_ = -1;  // step of the newest validation
  std::int64_t saved_ = -1;      // step of the newest checkpoint
};

void Runner::Implementation::set_modes() {
  parts_.model->train();
  if (parts_.freezer) parts_.freezer->fix_modes(state_.step);
}

void Runner::Implementation::start() {
  std::string history;
  if (settings_.resume.empty()) {
    prepare_work_dir(settings_.work_dir);
    stepper_.seek(0);
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
  log_.open(state_.step, kept, history);
  write_text(file("config.toml"), settings_.config);
  for (const auto& [name, text] : settings_.notes) write_text(file(name.c_str()), text);
  state_.epoch = epoch();
  if (parts_.freezer) parts_.freezer->apply(state_.step);
  set_modes();
}

Json Runner::Implementation::state_json() const {
  Json json;
  json["step"] = state_.step;
  json["steps"] = state_.steps;
  json["batches"] = stepper_.batches();
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
  if (stepper_.scaler()) json["scaler"] = stepper_.scaler()->save();
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
  json["window"] = stepper_.window().save();
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
    stepper_.seek(json.at("batches").get<std::int64_t>());
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
    stepper_.window().load(json.at("window").get<std::string>());
    for (auto& [name, hook] : parts_.hooks) {
      const auto saved = json.at("hooks").find(name);
      if (saved != json.at("hooks").end()) hook->load_state(saved->get<std::string>());
      for (const auto& [key, tensors] : checkpoint.hooks) {
        if (key == name) hook->load_tensors(tensors);
      }
    }
    if (const auto saved = json.find("scaler"); stepper_.scaler() && saved != json.end()) {
      stepper_.scaler()->load(saved->get<std::string>());
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

/// False when the step was left out.
bool Runner::Implementation::train_step() {
  log_.pace().begin();
  if (parts_.freezer && parts_.freezer->apply(state_.step)) set_modes();
  for_hooks([&](Hook& hook) { hook.before_step(state_); });
  stepper_.load();
  log_.begin_training(state_.step);
  if (!stepper_.step(state_.step)) return false;
  ++state_.step;
  state_.epoch = epoch();
  if (stepper_.device_waits()) check_finite();
  state_.batch = &stepper_.batch();
  state_.losses = &stepper_.losses();
  for_hooks([&](Hook& hook) { hook.after_step(state_); });
  for (const auto& [name, value] : state_.logged) stepper_.window().add(name, value);
  state_.logged.clear();
  log_.pace().end();
  log_.show(state_);
  return true;
}

void Runner::Implementation::log_step() {
  Hook::Numbers rates;
  for (const Trainer& trainer : parts_.trainers) {
    // Of the step just done, of the first group; the others keep their ratio to it.
    const double base = trainer.optimizer->groups().front().lr;
    rates.emplace_back(trainer.name.empty() ? "lr" : "lr." + trainer.name,
                       base * factor_of(trainer, state_.step - 1));
  }
  const auto numbers =
      log_.add_step(state_, rates, stepper_.window().take(), parts_.batches->seconds_waited());
  stepper_.forget_batches();
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
  const std::chrono::duration<double> seconds = Pace::Clock::now() - begun;
  const auto numbers =
      log_.add_validation(state_, seconds.count(), parts_.tables ? parts_.tables() : "");
  for_hooks([&](Hook& hook) { hook.after_log(state_, numbers); });
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
      if (!train_step()) continue;
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
