// Ends a run when a score has not become better for a while.
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/log.hpp"
#include "framework/engine/hook.hpp"
#include "registry/component.hpp"

namespace strata::engine {

struct EarlyStoppingOptions {
  std::string monitor;
  std::string rule = "auto";
  double min_delta = 0.0;
  std::int64_t patience = 5;

  static auto fields() {
    using config::field;
    return std::tuple{field("monitor", &EarlyStoppingOptions::monitor,
                            "the score to watch (\"miou\", \"f1.changed\")")
                          .required(),
                      field("rule", &EarlyStoppingOptions::rule,
                            "whether more is better; auto: yes, unless the name has \"loss\" or "
                            "\"error\"")
                          .one_of({"auto", "max", "min"}),
                      field("min_delta", &EarlyStoppingOptions::min_delta,
                            "what a score must gain at least to count as better")
                          .at_least(0),
                      field("patience", &EarlyStoppingOptions::patience,
                            "validations without a better score after which the run ends")
                          .at_least(1)};
  }
};

class EarlyStoppingHook final : public Hook {
 public:
  EarlyStoppingHook(EarlyStoppingOptions options, const Context& context)
      : options_(std::move(options)), key_(context.name) {}

  static std::string monitor_of(const EarlyStoppingOptions& options) { return options.monitor; }

  void after_validation(RunState& state) override {
    const double value = value_of(state.scores);
    const double gain =
        more_is_better(options_.monitor, options_.rule) ? value - best_ : best_ - value;
    // A score that is not a number is no gain; the first number always is.
    if (!std::isnan(value) && (!any_ || gain > options_.min_delta)) {
      best_ = value;
      any_ = true;
      waited_ = 0;
      return;
    }
    if (++waited_ < options_.patience) return;
    log::info("hooks.{}: {} has not become better for {} validations", key_, options_.monitor,
              waited_);
    state.stop = true;
  }

  std::string save_state() const override {
    return nlohmann::ordered_json{{"best", best_}, {"any", any_}, {"waited", waited_}}.dump();
  }
  void load_state(const std::string& text) override {
    const auto json = nlohmann::json::parse(text);
    best_ = json.at("best").get<double>();
    any_ = json.at("any").get<bool>();
    waited_ = json.at("waited").get<std::int64_t>();
  }

 private:
  double value_of(const Scores& scores) const {
    std::vector<std::string> names;
    for (const auto& [name, value] : scores) {
      if (name == options_.monitor) return value;
      names.push_back(name);
    }
    throw UserError("hooks." + key_ + ".monitor: the metrics give no such number, got \"" +
                    options_.monitor + "\"" + did_you_mean(options_.monitor, names));
  }

  EarlyStoppingOptions options_;
  std::string key_;
  double best_ = 0.0;
  bool any_ = false;
  std::int64_t waited_ = 0;
};

}  // namespace strata::engine

STRATA_COMPONENTS(framework_engine_hooks_early_stopping) {
  using namespace strata::engine;
  registry.add<strata::Hook, EarlyStoppingHook, EarlyStoppingOptions>(
      "EarlyStoppingHook", "ends a run when a score stops becoming better");
}
