#include "framework/optim/parameters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "backbones/backbone.hpp"
#include "framework/base/error.hpp"
#include "framework/config/globs.hpp"

namespace strata::optim {
namespace {

constexpr std::int64_t kForGood = std::numeric_limits<std::int64_t>::max();

// By the type's name, so that norms of plugins and of our own count as LibTorch's do. Sizes keep
// blocks out that only have "Norm" in their name ("ConvNormAct" with a weight of its own).
bool is_norm(const torch::nn::Module& module) {
  const std::string type = module.name();
  const std::size_t start = type.rfind(':');
  return type.find("Norm", start == std::string::npos ? 0 : start) != std::string::npos;
}

std::vector<std::string> names_of(const std::vector<ModelParameter>& parameters) {
  std::vector<std::string> names;
  for (const ModelParameter& parameter : parameters) names.push_back(parameter.name);
  return names;
}

std::string last_segment(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

std::string count_text(std::int64_t count) {
  if (count >= 10'000'000) return fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
  if (count >= 100'000) return fmt::format("{:.2f} M", static_cast<double>(count) / 1e6);
  return std::to_string(count);
}

using Row = std::vector<std::string>;

// First column to the left, the others to the right.
std::string format_rows(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (const Row& row : rows) {
    text += text.empty() ? "" : "\n";
    text += fmt::format("{:<{}}", row[0], widths[0]);
    for (std::size_t c = 1; c < row.size(); ++c) text += fmt::format("  {:>{}}", row[c], widths[c]);
  }
  return text;
}

/// What the rules make of one parameter.
struct Setting {
  std::string rules;  // "norm_decay_mult x head", "-" for none
  double lr_mult = 1.0, decay_mult = 1.0;

  void take(const std::string& rule, double lr, double decay) {
    rules += (rules.empty() ? "" : " x ") + rule;
    lr_mult *= lr;
    decay_mult *= decay;
  }
};

class Rules {
 public:
  Rules(const std::vector<ModelParameter>& parameters, const OptimizerOptions& options)
      : options_(options), longest_(options.paramwise_mode == "longest") {
    const std::vector<std::string> names = names_of(parameters);
    const bool layered = std::any_of(parameters.begin(), parameters.end(),
                                     [](const auto& parameter) { return parameter.depth > 0; });
    if (options.layer_decay && !layered) {
      throw OptionError("layer_decay", "the model has no backbone that says what its layers are");
    }
    for (const auto& [key, rule] : options.paramwise) {
      const bool used = std::any_of(names.begin(), names.end(),
                                    [&, &r = rule](const auto& name) { return hits(r, name); });
      if (!used && !rule.optional) {
        throw OptionError("paramwise." + key + ".match",
                          fmt::format("matches no parameter, got \"{}\"{}", rule.match,
                                      config::glob_hint(rule.match, names)));
      }
    }
  }

  Setting of(const ModelParameter& parameter) const {
    Setting setting;
    if (longest_) {
      if (const auto* named = longest_match(parameter.name)) {
        setting.take(named->first, named->second.lr_mult, named->second.decay_mult);
        return setting;
      }
    } else {
      const std::pair<std::string, ParamwiseRule>* exclusive = nullptr;
      for (const auto& named : options_.paramwise) {
        const bool wins =
            named.second.exclusive && hits(named.second, parameter.name) &&
            (exclusive == nullptr || named.second.match.size() > exclusive->second.match.size());
        if (wins) exclusive = &named;
      }
      if (exclusive != nullptr) {
        setting.take(exclusive->first, exclusive->second.lr_mult, exclusive->second.decay_mult);
        return setting;
      }
      for (const auto& [key, rule] : options_.paramwise) {
        if (hits(rule, parameter.name)) setting.take(key, rule.lr_mult, rule.decay_mult);
      }
    }
    if (options_.layer_decay && parameter.depth > 0) {
      setting.take(fmt::format("layer_decay^{}", parameter.depth),
                   std::pow(*options_.layer_decay, parameter.depth), 1.0);
    }
    if (parameter.norm && options_.norm_decay_mult) {
      setting.take("norm_decay_mult", 1.0, *options_.norm_decay_mult);
    } else if (!parameter.norm && options_.bias_decay_mult &&
               last_segment(parameter.name) == "bias") {
      setting.take("bias_decay_mult", 1.0, *options_.bias_decay_mult);
    }
    return setting;
  }

 private:
  bool hits(const ParamwiseRule& rule, const std::string& name) const {
    return longest_ ? name.find(rule.match) != std::string::npos
                    : config::glob_match(rule.match, name);
  }

  // MMSegmentation's: of the patterns inside the name the longest, of equally long ones the first
  // of the alphabet.
  const std::pair<std::string, ParamwiseRule>* longest_match(const std::string& name) const {
    const std::pair<std::string, ParamwiseRule>* best = nullptr;
    for (const auto& named : options_.paramwise) {
      if (!hits(named.second, name)) continue;
      const std::string& match = named.second.match;
      if (best == nullptr || match.size() > best->second.match.size() ||
          (match.size() == best->second.match.size() && match < best->second.match)) {
        best = &named;
      }
    }
    return best;
  }

  const OptimizerOptions& options_;
  bool longest_;
};

/// One line of the table: what shares rules and group.
struct Summary {
  std::string rules, lr, decay;
  std::int64_t tensors = 0, elements = 0;
};

void count(std::vector<Summary>& lines, Summary line, const at::Tensor& tensor) {
  auto place = std::find_if(lines.begin(), lines.end(), [&](const Summary& other) {
    return other.rules == line.rules && other.lr == line.lr && other.decay == line.decay;
  });
  if (place == lines.end()) place = lines.insert(lines.end(), std::move(line));
  ++place->tensors;
  place->elements += tensor.numel();
}

// Depths of a backbone's parameters, where none is known: a backbone that is made of others speaks
// for them. `path` is its place in the model.
void set_depths(std::vector<ModelParameter>& parameters, const std::string& path,
                const Backbone& backbone) {
  const Backbone::Layers layers = backbone.layers();
  const std::string prefix = path.empty() ? "" : path + ".";
  for (std::size_t i = 0; i < layers.size(); ++i) {
    for (const std::string& part : layers[i]) {
      for (ModelParameter& parameter : parameters) {
        if (parameter.depth > 0 || !config::glob_match(prefix + part, parameter.name)) continue;
        parameter.depth = static_cast<std::int64_t>(layers.size() - i);
      }
    }
  }
}

}  // namespace

std::vector<ModelParameter> parameters_of(const torch::nn::Module& model) {
  std::vector<ModelParameter> all;
  std::set<const void*> seen;
  const auto add = [&](const std::string& path, const torch::nn::Module& module) {
    const bool norm = is_norm(module);
    for (const auto& item : module.named_parameters(/*recurse=*/false)) {
      if (!item.value().defined() || !seen.insert(item.value().unsafeGetTensorImpl()).second) {
        continue;
      }
      all.push_back({path.empty() ? item.key() : path + "." + item.key(), item.value(),
                     norm && item.value().dim() <= 1});
    }
  };
  add("", model);
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    add(item.key(), *item.value());
  }
  if (const auto* backbone = dynamic_cast<const Backbone*>(&model)) set_depths(all, "", *backbone);
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    const auto* backbone = dynamic_cast<const Backbone*>(item.value().get());
    if (backbone != nullptr) set_depths(all, item.key(), *backbone);
  }
  return all;
}

Freezer::Freezer(std::vector<FreezeRule> rules, torch::nn::Module& model)
    : rules_(std::move(rules)), model_(model), parameters_(parameters_of(model)) {
  std::vector<std::string> names = names_of(parameters_);
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    names.push_back(item.key());
  }
  for (std::size_t i = 0; i < rules_.size(); ++i) {
    const FreezeRule& rule = rules_[i];
    const bool used = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return config::glob_match(rule.pattern, name);
    });
    if (!used && !rule.optional) {
      throw OptionError(std::to_string(i),
                        fmt::format("matches no parameter and no module, got \"{}\"{}",
                                    rule.pattern, config::glob_hint(rule.pattern, names)));
    }
  }
  for (const ModelParameter& parameter : parameters_) {
    std::int64_t until = 0;
    for (const FreezeRule& rule : rules_) {
      if (!config::glob_match(rule.pattern, parameter.name)) continue;
      until = std::max(until, rule.until_step.value_or(kForGood));
    }
    until_.push_back(until);
  }
}

bool Freezer::active(const FreezeRule& rule, std::int64_t step) const {
  return !rule.until_step || step < *rule.until_step;
}

bool Freezer::frozen(const std::string& parameter, std::int64_t step) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const FreezeRule& rule) {
    return active(rule, step) && config::glob_match(rule.pattern, parameter);
  });
}

bool Freezer::frozen_for_good(const std::string& parameter) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const FreezeRule& rule) {
    return !rule.until_step && config::glob_match(rule.pattern, parameter);
  });
}

bool Freezer::apply(std::int64_t step) {
  bool changed = false;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (until_[i] == 0) continue;  // no rule speaks of it: it stays as the model made it
    at::Tensor& tensor = parameters_[i].tensor;
    const bool trained = step >= until_[i];
    if (tensor.requires_grad() == trained) continue;
    tensor.set_requires_grad(trained);
    if (!trained) tensor.mutable_grad().reset();
    changed = true;
  }
  return changed;
}

void Freezer::fix_modes(std::int64_t step) {
  if (rules_.empty()) return;
  for (const auto& item : model_.named_modules("", /*include_self=*/false)) {
    const std::string& path = item.key();
    bool fixed = frozen(path, step);  // also what has no parameters: dropout
    if (!fixed) {
      const std::string prefix = path + ".";
      bool any = false, all = true;
      for (const ModelParameter& parameter : parameters_) {
        if (parameter.name.compare(0, prefix.size(), prefix) != 0) continue;
        any = true;
        all = all && frozen(parameter.name, step);
      }
      fixed = any && all;
    }
    if (fixed) item.value()->eval();
  }
}

bool learns(const ModelParameter& parameter, const Freezer* freezer) {
  if (freezer == nullptr) return parameter.tensor.requires_grad();
  if (freezer->frozen_for_good(parameter.name)) return false;
  return parameter.tensor.requires_grad() || freezer->frozen(parameter.name, 0);  // or thaws
}

GroupPlan plan_groups(const std::vector<ModelParameter>& parameters,
                      const OptimizerOptions& options, const Freezer* freezer,
                      std::int64_t samples) {
  const std::vector<std::string> names = names_of(parameters);
  for (std::size_t i = 0; i < options.params.size(); ++i) {
    const bool used = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return config::glob_match(options.params[i], name);
    });
    if (!used) {
      throw OptionError("params." + std::to_string(i),
                        fmt::format("matches no parameter, got \"{}\"{}", options.params[i],
                                    config::glob_hint(options.params[i], names)));
    }
  }
  const Rules rules(parameters, options);
  GroupPlan plan;
  plan.lr = options.scaled_lr(samples);
  std::vector<Summary> lines;
  Summary still{"(frozen)", "-", "-"};
  for (const ModelParameter& parameter : parameters) {
    if (!options.params.empty() && !config::glob_match_any(options.params, parameter.name)) {
      continue;
    }
    if (!learns(parameter, freezer)) {
      ++still.tensors;
      still.elements += parameter.tensor.numel();
      continue;
    }
    const Setting setting = rules.of(parameter);
    const double lr = plan.lr * setting.lr_mult;
    const double decay = options.weight_decay * setting.decay_mult;
    auto place = std::find_if(plan.groups.begin(), plan.groups.end(), [&](const auto& group) {
      return group.lr == lr && group.weight_decay == decay;
    });
    if (place == plan.groups.end()) {
      place = plan.groups.insert(plan.groups.end(), ParameterGroup{});
      place->lr = lr;
      place->weight_decay = decay;
    }
    place->names.push_back(parameter.name);
    place->parameters.push_back(parameter.tensor);
    std::string label = setting.rules.empty() ? "(no rule)" : setting.rules;
    if (freezer != nullptr && freezer->frozen(parameter.name, 0)) label += " (thaws)";
    count(lines, {std::move(label), fmt::format("{:g}", lr), fmt::format("{:g}", decay)},
          parameter.tensor);
  }
  if (plan.groups.empty()) {
    throw OptionError("", still.tensors > 0 ? "has nothing to train: every parameter is frozen"
                                            : "has nothing to train: the model has no parameters");
  }
  if (still.tensors > 0) lines.push_back(std::move(still));
  std::vector<Row> rows{{"rules", "tensors", "parameters", "lr", "decay"}};
  for (const Summary& line : lines) {
    rows.push_back(
        {line.rules, std::to_string(line.tensors), count_text(line.elements), line.lr, line.decay});
  }
  plan.table = format_rows(rows);
  return plan;
}

}  // namespace strata::optim
