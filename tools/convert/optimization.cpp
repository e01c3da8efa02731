// train_cfg, optim_wrapper and param_scheduler.
#include <vector>

#include "tools/convert/conversion.hpp"

namespace strata::tools::convert {
namespace {

using config::Schema;

// ---- optimizer

/// AmpOptimWrapper: half precision unless it says bfloat16.
void mixed_precision(Conversion& c, const Json& wrapper) {
  const Json dtype = wrapper.value("dtype", Json());
  const bool bf16 = dtype.is_string() && dtype.get<std::string>() == "bfloat16";
  const Json scale = wrapper.value("loss_scale", Json("dynamic"));
  Table amp;
  amp.set("dtype", text_value(bf16 ? "bf16" : "fp16"));
  if (scale.is_number()) {
    amp.set("init_scale", Value{scale.get<double>()});
    c.lose("optim_wrapper.loss_scale", "the scale begins there and moves: it is always dynamic");
  } else if (scale.is_object()) {
    for (const auto& [key, value] : scale.items()) {
      if (key == "init_scale") {
        amp.set(key, Value{value.get<double>()});
      } else if (key == "growth_interval") {
        amp.set(key, value_of(value));
      } else {
        c.lose("optim_wrapper.loss_scale." + key, "no such key here");
      }
    }
  }
  c.train.set("amp", amp.size() == 1 ? *amp.find("dtype") : Value{std::move(amp)});
}

void clip_grad(Conversion& c, const Json& json, const std::string& path) {
  Table table;
  for (const auto& [key, value] : json.items()) {
    if (key == "max_norm") {
      table.set(key, Value{value.get<double>()});
    } else if (key == "clip_value") {
      table.set("max_value", Value{value.get<double>()});
    } else if (key == "norm_type" ? value != 2 : key != "type" && key != "error_if_nonfinite") {
      c.lose(path + "." + key, key == "norm_type" ? "norms are 2-norms" : "no such key here");
    }
  }
  if (table.empty()) return;
  const Value* norm = table.size() == 1 ? table.find("max_norm") : nullptr;
  c.train.set("clip_grad", norm != nullptr ? *norm : Value{table});
}

/// LearningRateDecayOptimizerConstructor: deeper layers of the backbone learn more slowly, and
/// neither norms nor biases decay.
void layer_decay(Conversion& c, Table& optimizer, const Json& json, const std::string& path) {
  for (const auto& [key, value] : json.items()) {
    if (key == "decay_rate") {
      optimizer.set("layer_decay", Value{value.get<double>()});
    } else if (key == "decay_type" && value != "layer_wise") {
      c.lose(path + key, "the rate falls from layer to layer here, not from stage to stage");
    } else if (key == "num_layers") {
      c.drop(path + key, "a backbone knows its layers");
    } else if (key != "decay_type") {
      c.lose(path + key, "no such key here");
    }
  }
  optimizer.set("norm_decay_mult", Value{0.0});
  optimizer.set("bias_decay_mult", Value{0.0});
}

void paramwise(Conversion& c, Table& optimizer, const Json& json, const std::string& path) {
  Table rules;
  for (const auto& [key, value] : json.items()) {
    if (key == "norm_decay_mult" || key == "bias_decay_mult") {
      optimizer.set(key, value_of(value));
    } else if (key == "bypass_duplicate") {
      c.drop(path + key, "a shared parameter is in one group");
    } else if (key == "custom_keys") {
      for (const auto& [match, settings] : value.items()) {
        Table rule;
        rule.set("match", text_value(match));
        for (const char* mult : {"lr_mult", "decay_mult"}) {
          if (settings.contains(mult)) rule.set(mult, value_of(settings[mult]));
        }
        rule.set("optional", Value{true});  // mmseg does not say when a key matches nothing
        rules.set(key_name(match), Value{std::move(rule)});
      }
    } else {
      c.lose(path + key, "no such key here");
    }
  }
  if (rules.empty()) return;
  optimizer.set("paramwise_mode", text_value("longest"));
  optimizer.set("paramwise", Value{std::move(rules)});
}

std::optional<Table> optimizer(Conversion& c) {
  const Json& wrapper = c.part("optim_wrapper");
  const Json& scale_lr = c.part("auto_scale_lr");
  if (!wrapper.is_object() || !wrapper.contains("optimizer")) return std::nullopt;
  const Json& json = wrapper["optimizer"];
  std::optional<Table> table =
      c.component("optimizer", json.value("type", ""), json, "optim_wrapper.optimizer");
  const std::string type = wrapper.value("type", "OptimWrapper");
  const bool amp = type == "AmpOptimWrapper";
  if (amp) {
    mixed_precision(c, wrapper);
  } else if (type != "OptimWrapper") {
    c.lose("optim_wrapper.type", type + ": not known here");
  }
  const std::string constructor = wrapper.value("constructor", "");
  const bool layered = constructor == "LearningRateDecayOptimizerConstructor" ||
                       constructor == "LayerDecayOptimizerConstructor";
  for (const auto& [key, value] : wrapper.items()) {
    const std::string path = "optim_wrapper." + key;
    if (key == "type" || key == "optimizer" || value.is_null()) continue;
    if (amp && (key == "dtype" || key == "loss_scale")) continue;
    if (key == "accumulative_counts") {
      c.train.set("accumulate", value_of(value));
      if (c.steps) c.lose(path, "train.steps counts optimizer steps: divide it by this");
    } else if (key == "clip_grad") {
      clip_grad(c, value, path);
    } else if (key == "paramwise_cfg" && table && layered) {
      layer_decay(c, *table, value, path + ".");
    } else if (key == "paramwise_cfg" && table) {
      paramwise(c, *table, value, path + ".");
    } else if (key != "constructor" ||
               (!layered && constructor != "DefaultOptimWrapperConstructor")) {
      c.lose(path, "no such key here");
    }
  }
  if (table && scale_lr.is_object() && scale_lr.value("enable", false)) {
    table->set("base_batch_size", value_of(scale_lr.value("base_batch_size", Json(16))));
  }
  return table;
}

// ---- schedule

/// One of mmengine's parameter schedulers.
struct Piece {
  Json json;
  std::string path, type;
  bool by_epoch;
  std::int64_t begin;
  std::optional<std::int64_t> end;
};

std::vector<Piece> pieces_of(Conversion& c) {
  const Json& given = c.part("param_scheduler");
  const Json list = list_of(given);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& one = list[i];
    Piece piece{one,
                place_in(given, "param_scheduler", i),
                one.value("type", ""),
                one.value("by_epoch", true),
                one.value("begin", std::int64_t{0}),
                {}};
    if (one.contains("end") && one["end"].is_number_integer()) {
      piece.end = one["end"].get<std::int64_t>();
    } else if (one.contains("T_max") && one["T_max"].is_number_integer()) {
      piece.end = piece.begin + one["T_max"].get<std::int64_t>();
    }
    if (piece.type.ends_with("Momentum") || piece.type.ends_with("ParamScheduler")) {
      c.lose(piece.path, "only learning rates have a schedule");
    } else {
      pieces.push_back(std::move(piece));
    }
  }
  return pieces;
}

/// Whether the rate is the optimizer's own when this is over, so that the next one may begin anew.
bool returns_to_one(const Piece& piece) {
  return piece.type == "ConstantLR" ||
         (piece.type == "LinearLR" && piece.json.value("end_factor", 1.0) == 1.0);
}

/// The schedule itself; what it counts begins with its own begin.
std::optional<Table> curve(Conversion& c, const Piece& piece, Table* own_optimizer) {
  std::optional<Table> table = c.component(
      "schedule", piece.type, piece.json, piece.path,
      [&](Table& own, const Schema& schema, const std::string& key, const Json& value) {
        const std::string at = piece.path + "." + key;
        if (key == "begin" || key == "end" || key == "T_max" || key == "by_epoch" ||
            key == "verbose" || key == "total_steps") {
          return true;
        }
        if (key == "convert_to_iter_based") {
          if (value == true) c.lose(at, "the rate changes with each epoch, not with each step");
        } else if (key == "eta_min" || key == "eta_min_ratio") {
          if (value.is_null()) return true;
          c.set_checked(own, schema, key == "eta_min" ? "min_lr" : "min_lr_ratio", value_of(value),
                        at);
        } else if (key == "eta_max") {  // OneCycleLR: the optimizer's own rate does not count
          if (own_optimizer != nullptr) own_optimizer->set("lr", value_of(value));
        } else if (key == "milestones" && piece.begin > 0) {
          Array later;
          for (const Json& step : value) {
            later.push_back(Value{step.get<std::int64_t>() - piece.begin});
          }
          own.set(key, Value{std::move(later)});
        } else {
          return false;
        }
        return true;
      });
  if (!table) return std::nullopt;
  // Where mmengine's default is another.
  const auto fill = [&](const char* key, double value) {
    if (!table->contains(key)) table->set(key, Value{value});
  };
  if (piece.type == "LinearLR") fill("start_factor", 1.0 / 3), fill("end_factor", 1.0);
  if (piece.type == "ConstantLR") fill("factor", 1.0 / 3);
  return table;
}

std::optional<Table> alone(Conversion& c, const Piece& piece, std::int64_t default_begin,
                           Table* own_optimizer) {
  std::optional<Table> table = curve(c, piece, own_optimizer);
  if (!table) return std::nullopt;
  if (piece.by_epoch) table->set("by_epoch", Value{true});
  if (piece.begin != default_begin) table->set("begin", Value{piece.begin});
  const std::optional<std::int64_t> length = piece.by_epoch ? c.epochs : c.steps;
  const bool counts_to_its_end = piece.type.find("Step") == std::string::npos;
  if (piece.end && piece.end != length && counts_to_its_end) table->set("end", Value{*piece.end});
  return table;
}

/// Schedules that follow each other; nullopt, and said why, when these do not.
std::optional<Table> in_a_row(Conversion& c, const std::vector<Piece>& pieces,
                              Table* own_optimizer) {
  for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
    const Piece &one = pieces[i], &next = pieces[i + 1];
    const bool follows = one.end == next.begin && one.by_epoch == next.by_epoch;
    if (follows && returns_to_one(one) && (i > 0 || one.begin == 0)) continue;
    c.lose(next.path,
           "schedules follow each other, count the same, and all but the last end at the "
           "optimizer's rate");
    return std::nullopt;
  }
  Array schedules, milestones;
  for (const Piece& piece : pieces) {
    std::optional<Table> table = curve(c, piece, own_optimizer);
    if (!table) return std::nullopt;
    schedules.push_back(Value{std::move(*table)});
    if (piece.begin > 0) milestones.push_back(Value{piece.begin});
  }
  Table table;
  table.set("type", text_value("SequentialLR"));
  if (pieces.front().by_epoch) table.set("by_epoch", Value{true});
  table.set("milestones", Value{std::move(milestones)});
  table.set("schedules", Value{std::move(schedules)});
  return table;
}

/// mmengine chains schedulers; here a warm-up in steps is a key of the one behind it.
std::optional<Table> schedule(Conversion& c, Table* own_optimizer) {
  std::vector<Piece> pieces = pieces_of(c);
  if (pieces.empty()) return std::nullopt;
  const Piece first = pieces.front();
  const bool warms_up = pieces.size() > 1 && first.type == "LinearLR" && !first.by_epoch &&
                        first.begin == 0 && first.end && returns_to_one(first);
  if (warms_up) pieces.erase(pieces.begin());
  if (pieces.size() > 1 && warms_up) {
    for (std::size_t i = 1; i < pieces.size(); ++i) {
      c.lose(pieces[i].path, "one schedule behind a warm-up is what there is here");
    }
    pieces.resize(1);
  }
  const std::int64_t behind_warmup = warms_up ? *first.end : 0;
  std::optional<Table> table =
      pieces.size() > 1
          ? in_a_row(c, pieces, own_optimizer)
          : alone(c, pieces.front(), pieces.front().by_epoch ? 0 : behind_warmup, own_optimizer);
  if (!warms_up) return table;
  if (!table) (table = Table())->set("type", text_value("ConstantLR"));
  Table warmup;
  warmup.set("steps", Value{*first.end});
  warmup.set("start_factor", Value{first.json.value("start_factor", 1.0 / 3)});
  table->set("warmup", Value{std::move(warmup)});
  return table;
}

}  // namespace

void convert_length(Conversion& c) {
  const Json& json = c.part("train_cfg");
  if (!json.is_object()) return;
  if (json.contains("max_iters")) {
    c.steps = json["max_iters"].get<std::int64_t>();
    c.train.set("steps", Value{*c.steps});
  } else if (json.contains("max_epochs")) {
    c.epochs = json["max_epochs"].get<std::int64_t>();
    c.train.set("epochs", Value{*c.epochs});
  }
  for (const auto& [key, value] : json.items()) {
    if (key == "val_interval") {
      c.evaluate.set(c.steps ? "interval" : "interval_epochs", value_of(value));
    } else if (key != "type" && key != "by_epoch" && key != "max_iters" && key != "max_epochs" &&
               !(key == "val_begin" && value.is_number() && value.get<int>() <= 1)) {
      c.lose("train_cfg." + key, "no such key here");
    }
  }
}

void convert_optimization(Conversion& c, Table& root) {
  std::optional<Table> own = optimizer(c);
  std::optional<Table> rates = schedule(c, own ? &*own : nullptr);
  if (own) root.set("optimizer", Value{std::move(*own)});
  if (rates) root.set("schedule", Value{std::move(*rates)});
}

}  // namespace strata::tools::convert
