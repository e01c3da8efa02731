// `[init]`: the weights that training begins with.
#pragma once

#include <torch/nn/module.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "backbones/key_maps.hpp"
#include "framework/config/schema.hpp"
#include "framework/io/pretrained.hpp"

namespace strata {

struct Experiment;

/// A file or folder of weights, or the name of pretrained ones, which `resolved` leaves as it is.
struct WeightsSource : config::Path {
  bool is_name() const { return io::is_pretrained_name(text); }
};

struct InitOptions {
  WeightsSource from;
  std::string sha256;
  std::string part;
  std::string select;
  std::optional<std::string> prefix;
  std::string key_map = "auto";
  std::vector<std::string> reinit;
  std::vector<std::string> allow;
  bool adapt_input = false;

  static auto fields() {
    using config::field;
    std::vector<std::string> maps = backbones::key_layouts();
    maps.insert(maps.begin(), {"auto", "native"});
    return std::tuple{
        field("from", &InitOptions::from,
              "file of weights (safetensors, or of torch.save), checkpoint folder, or name of "
              "pretrained weights (\"timm:resnet50.a1_in1k\", \"hf:ORG/MODEL\", \"https://…\")")
            .required(),
        field("sha256", &InitOptions::sha256,
              "the SHA-256 that the file must have, or its first 8 digits or more"),
        field("part", &InitOptions::part,
              "the module that they are of (\"backbone\"); left out: the whole model"),
        field(
            "select", &InitOptions::select,
            "the dict of a torch file that holds them (\"state_dict_ema\"); left out: state_dict, "
            "model and the like"),
        field(
            "prefix", &InitOptions::prefix,
            "only tensors whose names begin with it, which is taken away; left out: the one under "
            "which most names fit"),
        field("key_map", &InitOptions::key_map,
              "the layout of their names; auto: the one under which most names fit, our own first")
            .one_of(std::move(maps)),
        field("reinit", &InitOptions::reinit,
              "globs of tensors that stay at their fresh initialisation, for other classes")
            .one_or_many(),
        field("allow", &InitOptions::allow,
              "globs of tensors that may be missing, unexpected or of another shape")
            .one_or_many(),
        field(
            "adapt_input", &InitOptions::adapt_input,
            "let convolutions of 3 channels serve other numbers: summed for one, else repeated and "
            "scaled")};
  }
};

/// `[init]`, or several as `[init.NAME]`, loaded in their order.
struct InitSets {
  config::Named<InitOptions> sets;  // the name of a single one is ""
};

namespace engine {

/// Checks that parts exist, that the patterns of `reinit` match, and that sums are sums. Throws
/// ConfigError, located.
STRATA_API void check_init(const Experiment& experiment, const torch::nn::Module& model);

/// Fetches what `[init]` names and this machine does not have. Throws CheckpointError.
STRATA_API void fetch_init(const Experiment& experiment);

/// Loads `[init]` into a model that was just built, and logs what was loaded from where. Strict:
/// see io::load_state. Throws CheckpointError with what to write where it can tell.
STRATA_API void initialise(const Experiment& experiment, torch::nn::Module& model);

}  // namespace engine
}  // namespace strata

namespace strata::config {

template <>
struct Codec<WeightsSource> {
  static TypeInfo type() { return Codec<Path>::type(); }
  static void parse(const Value& value, WeightsSource& out, Binder& binder, const Constraints& c) {
    if (!binder.read(value, out, c)) return;
    if (out.is_name()) out.resolved = out.text;
    if (std::filesystem::exists(out.resolved)) return;
    if (const auto problem = io::check_pretrained_name(out.text)) {
      binder.reject(value, problem->what, problem->cure);
    }
  }
  static Value dump(const WeightsSource& source, bool) {
    return source.is_name() ? Value{Value::Data(source.text)} : dump_path(source);
  }
};

template <>
struct Codec<InitSets> {
  static TypeInfo type() {
    TypeInfo info = Codec<InitOptions>::type();
    info.or_named = true;
    return info;
  }
  static void parse(const Value& value, InitSets& out, Binder& binder, const Constraints& c) {
    const Table* table = binder.table(value);
    if (table == nullptr) return;
    bool named = !table->empty();
    for (const Entry& entry : table->entries()) named = named && entry.value.as_table() != nullptr;
    if (named) {
      Codec<Named<InitOptions>>::parse(value, out.sets, binder, c);
    } else {
      InitOptions one;
      Codec<InitOptions>::parse(value, one, binder, c);
      out.sets.assign(1, {"", std::move(one)});
    }
  }
  static Value dump(const InitSets& value, bool full) {
    if (value.sets.empty()) return Value{};
    if (value.sets.size() == 1 && value.sets.front().first.empty()) {
      return Codec<InitOptions>::dump(value.sets.front().second, full);
    }
    return Codec<Named<InitOptions>>::dump(value.sets, full);
  }
};

}  // namespace strata::config
