// default_hooks and custom_hooks; what is measured, and in which views.
#include <map>
#include <set>

#include "tools/convert/conversion.hpp"

namespace strata::tools::convert {
namespace {

using config::Schema;

constexpr double kPerCent = 100;  // mmseg's scores

void checkpoint(Conversion& c, const Json& json, const std::string& path) {
  for (const auto& [key, value] : json.items()) {
    if (key == "interval") {
      if (json.value("by_epoch", true)) {
        c.drop(path + "." + key, "a checkpoint is written with each validation");
      } else {
        c.train.set("checkpoint_interval", value_of(value));
      }
    } else if (key == "max_keep_ckpts" && value.is_number() && value.get<int>() > 0) {
      c.train.set("keep_last", value_of(value));
    } else if (key == "save_best" && value.is_string() && value != "auto") {
      const std::string score = score_name(value.get<std::string>());
      if (score.empty()) {
        c.lose(path + "." + key, "name one of this program's scores in evaluate.best");
      } else {
        c.evaluate.set("best", text_value(score));
      }
    } else if (key == "rule") {
      c.drop(path + "." + key, "evaluate.best_rule finds out by itself");
    }
  }
}

/// SegVisualizationHook draws every Nth sample, and only where it is told to.
void visualization(Conversion& c, const Json& json, const std::string& path) {
  if (!json.is_object() || !json.value("draw", false)) return;
  Table table;
  table.set("type", text_value("VisualizationHook"));
  c.hooks.set("visualization", Value{std::move(table)});
  if (json.contains("interval")) {
    c.drop(path + ".interval",
           "the first samples of each validation are drawn: hooks.NAME.samples");
  }
}

/// mmengine stops for a gain in per cent, scores here are fractions.
void early_stopping(Conversion& c, Table& table, const Json& json, const std::string& path) {
  const std::string monitor = json.value("monitor", "");
  const std::string score = score_name(monitor);
  if (score.empty()) {
    c.lose(path + ".monitor", "name one of this program's scores, got \"" + monitor + "\"");
  }
  table.set("monitor", text_value(score.empty() ? monitor : score));
  const bool less = json.contains("rule") && json["rule"].is_string()
                        ? json["rule"] == "less"
                        : key_name(monitor).find("loss") != std::string::npos;
  table.set("rule", text_value(less ? "min" : "max"));
  table.set("min_delta", Value{json.value("min_delta", 0.1) / (less ? 1.0 : kPerCent)});
}

bool hook_key(Conversion& c, const std::string& type, Table& own, const std::string& key,
              const Json& value, const std::string& path) {
  if (type == "EarlyStoppingHook") {
    if (key == "strict") {
      c.drop(path, "a score that does not exist is an error in any case");
      return true;
    }
    return key == "monitor" || key == "rule" || key == "min_delta" ||
           (key == "check_finite" && value == true);
  }
  if (type == "EMAHook") {
    if (key == "ema_type") {
      if (value == "StochasticWeightAverage") c.lose(path, "the average is an exponential one");
      return true;
    }
    if (key == "begin_iter") own.set("begin", value_of(value));
    if (key == "begin_epoch" && value != 0) c.lose(path, "`begin` counts steps");
    return key == "begin_iter" || key == "begin_epoch" || key == "strict_load";
  }
  if (type == "ProfilerHook" && key == "profile_times") {
    own.set("steps", value_of(value));
    return true;
  }
  return key == "priority";
}

void custom(Conversion& c, const Json& json, const std::string& path) {
  static const std::map<std::string, std::string> kNotNeeded = {
      {"LoggerHook", "train.log_interval says how often is logged"},
      {"IterTimerHook", "every run is timed"},
      {"ParamSchedulerHook", "[schedule] needs none"},
      {"DistSamplerSeedHook", "samples follow from the seed"},
      {"RuntimeInfoHook", "every run logs it"},
      {"SyncBuffersHook", "one process has nothing to synchronise"},
      {"EmptyCacheHook", "memory is kept by the allocator"},
      {"CheckInvalidLossHook", "every loss is checked: train.on_nan"}};
  const std::string type = json.value("type", "");
  if (const auto reason = kNotNeeded.find(type); reason != kNotNeeded.end()) {
    return c.drop(path, type + ": " + reason->second);
  }
  if (type == "CheckpointHook") return checkpoint(c, json, path);
  if (type == "SegVisualizationHook" || type == "CDVisualizationHook") {
    return visualization(c, json, path);
  }
  auto table =
      c.component("hook", type, json, path,
                  [&](Table& own, const Schema&, const std::string& key, const Json& value) {
                    return hook_key(c, type, own, key, value, path + "." + key);
                  });
  if (!table) return;
  if (type == "EarlyStoppingHook") early_stopping(c, *table, json, path);
  if (type == "EMAHook" && json.value("ema_type", "") == "MomentumAnnealingEMA" &&
      !json.contains("gamma")) {
    table->set("gamma", Value{2000.0});  // its default
  }
  std::string name = key_name(type);
  if (name.ends_with("hook")) name.resize(name.size() - 4);
  c.hooks.set(name, Value{std::move(*table)});
}

/// The alternatives of TestTimeAug, of which each is taken with each of the others.
void views(Conversion& c, const Json& json, const std::string& path) {
  Array scales, flips;
  const Json groups = json.value("transforms", Json::array());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const Json& one : groups[i]) {
      const std::string type = one.value("type", "");
      if (type.ends_with("Resize") && one.contains("scale_factor")) {
        scales.push_back(Value{one["scale_factor"].get<double>()});
      } else if (type.ends_with("RandomFlip")) {
        const bool flipped = one.value("prob", 0.0) > 0.5;
        flips.push_back(text_value(flipped ? one.value("direction", "horizontal") : "identity"));
      } else if (!type.starts_with("Load") && !type.starts_with("Pack") &&
                 !type.starts_with("MultiImgLoad") && !type.starts_with("MultiImgPack")) {
        c.lose(path + ".transforms." + std::to_string(i), type + ": no view of --tta");
      }
    }
  }
  Table table;
  if (!flips.empty()) table.set("views", Value{std::move(flips)});
  if (!scales.empty()) table.set("scales", Value{std::move(scales)});
  if (!table.empty()) c.evaluate.set("tta", Value{std::move(table)});
}

}  // namespace

void convert_hooks(Conversion& c) {
  static const std::set<std::string> kNotNeeded = {"timer", "param_scheduler", "sampler_seed",
                                                   "runtime_info"};
  for (const auto& [key, value] : c.part("default_hooks").items()) {
    const std::string path = "default_hooks." + key;
    if (key == "logger") {
      if (value.contains("interval")) c.train.set("log_interval", value_of(value["interval"]));
    } else if (key == "checkpoint") {
      checkpoint(c, value, path);
    } else if (key == "visualization") {
      visualization(c, value, path);
    } else if (kNotNeeded.count(key) == 0 && value.is_object()) {
      custom(c, value, path);
    }
  }
  const Json& list = c.part("custom_hooks");
  for (std::size_t i = 0; i < list.size(); ++i) {
    custom(c, list[i], "custom_hooks." + std::to_string(i));
  }
}

void convert_evaluation(Conversion& c) {
  Table metrics;
  const Json& given = c.part("val_evaluator");
  c.part("test_evaluator");
  const Json list = list_of(given);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string path = place_in(given, "val_evaluator", i);
    std::string type = list[i].value("type", "");
    if (type.starts_with("mmseg.")) type = type.substr(6);
    auto metric = c.component("metric", type, list[i], path,
                              [&](Table&, const Schema&, const std::string& key, const Json&) {
                                if (key != "iou_metrics") return false;
                                c.drop(path + "." + key, "all of its numbers are always given");
                                return true;
                              });
    if (metric) metrics.set(type == "IoUMetric" ? "iou" : key_name(type), Value{*metric});
  }
  if (!metrics.empty()) c.evaluate.set("metrics", Value{std::move(metrics)});

  c.part("tta_model");
  c.part("img_ratios");
  const Json& pipeline = c.part("tta_pipeline");
  for (std::size_t i = 0; i < pipeline.size(); ++i) {
    if (pipeline[i].is_object() && pipeline[i].value("type", "") == "TestTimeAug") {
      views(c, pipeline[i], "tta_pipeline." + std::to_string(i));
    }
  }
}

}  // namespace strata::tools::convert
