#include "tools/convert/changemask.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backbones/key_maps.hpp"
#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/key_map.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/weights.hpp"
#include "tools/trained.hpp"

namespace strata::tools {
namespace {

using nlohmann::json;

constexpr const char* kDilationApplied = "temporal_dilation_applied";
const std::vector<std::int64_t> kDecoderChannels = {256, 128, 64, 32, 16};

/// A key's value, or the default where it is missing or null.
template <class T>
T value_or(const json& config, const char* key, T otherwise) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? otherwise : found->get<T>();
}

std::string classes(std::int64_t count, const char* first, std::int64_t from) {
  std::vector<std::string> names;
  if (first != nullptr) names.push_back(fmt::format("\"{}\"", first));
  for (std::int64_t i = from; static_cast<std::int64_t>(names.size()) < count; ++i) {
    names.push_back(fmt::format("\"class_{}\"", i));
  }
  return fmt::format("[{}]", fmt::join(names, ", "));
}

constexpr const char* kDice = "{type = \"DiceLoss\", exponent = 1.0, smooth = 1.0, eps = 0.0";

/// The losses that the port's loss_config asks for, as TOML arrays.
struct LossTables {
  std::vector<std::string> semantic, change;
  std::string joint;
};

LossTables losses_of(const json& config, bool one_class, bool one_change) {
  LossTables tables;
  const std::pair<const char*, const char*> dates[] = {{"t1", "before"}, {"t2", "after"}};
  int number = 0;
  for (const auto& [key, target] : dates) {
    ++number;
    if (!config.contains(key)) continue;
    const char* type = one_class ? "BinaryCrossEntropyLoss" : "CrossEntropyLoss";
    tables.semantic.push_back(
        fmt::format("{{type = \"{}\", target = \"{}\", loss_name = \"s{}_{}_loss\"}}", type, target,
                    number, one_class ? "bce" : "ce"));
    tables.semantic.push_back(fmt::format("{}, target = \"{}\", loss_name = \"s{}_dice_loss\"}}",
                                          kDice, target, number));
  }
  const json change = config.value("change", json::object());
  for (const char* key : {"bce", "ce"}) {
    if (!change.contains(key)) continue;
    const double smoothing = value_or(change[key], "ls", 0.0);
    if (tables.change.empty()) {
      tables.change.push_back(fmt::format(
          "{{type = \"{}\", label_smoothing = {}, loss_name = \"c_{}_loss\"}}",
          one_change ? "BinaryCrossEntropyLoss" : "CrossEntropyLoss", json(smoothing).dump(),
          one_change ? "bce" : "ce"));
    }
  }
  if (change.contains("dice")) {
    tables.change.push_back(
        one_change ? fmt::format("{{type = \"TverskyLoss\", gamma = {}, loss_name = "
                                 "\"c_dice_loss\"}}",
                                 json(value_or(change["dice"], "gamma", 1.0)).dump())
                   : fmt::format("{}, loss_name = \"c_dice_loss\"}}", kDice));
  }
  if (config.contains("sc")) {
    tables.joint = "{type = \"SemanticConsistencyLoss\", loss_name = \"sc_mse_loss\"}";
  }
  return tables;
}

std::string toml_of(const json& config, const std::string& name, ConvertedConfig& out) {
  const auto encoder = value_or<std::string>(config, "encoder_type", "efficientnet-b0");
  const std::string family = "efficientnet-b";
  if (!encoder.starts_with(family) || encoder.size() != family.size() + 1 ||
      encoder.back() < '0' || encoder.back() > '7') {
    throw UserError(fmt::format(
        "{}: encoder_type: only efficientnet-b0 to efficientnet-b7 are known here, got \"{}\"",
        name, encoder));
  }
  auto channels = value_or(config, "decoder_channels", kDecoderChannels);
  if (channels.empty()) channels = kDecoderChannels;
  const auto semantic = value_or<std::int64_t>(config, "num_semantic_classes", 6);
  const auto change = value_or<std::int64_t>(config, "num_change_classes", 1);
  const auto type = value_or<std::string>(config, "temporal_interaction_type", "conv3d");
  const auto kernel = value_or<std::int64_t>(config, "temporal_kernel_size", 3);
  auto dilation = value_or<std::int64_t>(config, "temporal_dilation", 1);
  if (dilation != 1 && !value_or(config, kDilationApplied, false)) {
    out.not_needed.emplace_back("temporal_dilation", "is stored there and never applied");
    dilation = 1;
  }
  const bool missing = !config.contains("temporal_symmetric_fusion");
  const auto fusion = value_or<std::string>(config, "temporal_symmetric_fusion",
                                            missing ? "add" : "none");
  const LossTables losses =
      losses_of(value_or(config, "loss_config", json::object()), semantic == 1, change == 1);
  if (losses.semantic.empty() && losses.change.empty()) {
    out.lost.emplace_back("loss_config", "names no loss: the heads' own (cross entropy) are taken");
  }
  const auto list = [](const std::vector<std::string>& tables) {
    return tables.empty() ? std::string()
                          : fmt::format("loss_decode = [\n  {},\n]\n", fmt::join(tables, ",\n  "));
  };
  std::string text;
  for (const auto& [label, date] : {std::pair{"before", 0}, std::pair{"after", 1}}) {
    text += fmt::format("[data.labels.{}]\nclasses = {}\ndate = {}\n\n", label,
                        semantic == 1 ? classes(2, "other", 1) : classes(semantic, nullptr, 1),
                        date);
  }
  text += fmt::format("[data.labels.change]\nclasses = {}\nrole = \"change\"\n\n",
                      change == 1 ? "[\"unchanged\", \"changed\"]"
                                  : classes(change, "unchanged", 1));
  text += "[model]\ntype = \"ChangeMask\"\npreprocessor = {size_divisor = 32}\n";
  if (!losses.joint.empty()) text += fmt::format("joint_loss = {}\n", losses.joint);
  text += fmt::format(
      "\n[model.backbone]\ntype = \"EfficientNet\"\nvariant = \"b{}\"\nout_indices = [-1, 0, 1, 2, "
      "3]\nkeep_head = true\n\n[model.neck]\ntype = \"TemporalSymmetricTransformer\"\n"
      "interaction_type = \"{}\"\nkernel_size = {}\ndilation = {}\nsymmetric_fusion = \"{}\"\n"
      "image_channels = 3\n",
      encoder.back(), type, kernel, dilation, fusion);
  const auto head = [&](const std::string& target, bool one_channel,
                        const std::vector<std::string>& terms) {
    text += fmt::format(
        "\n[[model.decode_head]]\ntype = \"FCNHead\"\ntarget = {}\n{}neck = {{type = "
        "\"UnetDecoder\", decoder_channels = [{}]}}\nchannels = {}\nnum_convs = 0\nconcat_input = "
        "false\ndropout = 0.0\n{}",
        target, one_channel ? "out_channels = 1\n" : "", fmt::join(channels, ", "),
        channels.back(), list(terms));
  };
  head("[\"before\", \"after\"]", semantic == 1, losses.semantic);
  head("\"change\"", change == 1, losses.change);
  return text;
}

/// What the port's config.json says of a model; throws UserError where it has no words for it.
class Description {
 public:
  Description(const config::Value& model, const Experiment& experiment, const std::string& name)
      : model_(model), name_(name) {
    need("type", "ChangeMask");
    need("backbone.type", "EfficientNet");
    need("neck.0.type", "TemporalSymmetricTransformer");
    for (const char* head : {"decode_head.0.", "decode_head.1."}) {
      need(head + std::string("neck.0.type"), "UnetDecoder");
      if (at(head + std::string("neck.0.decoder_channels")) !=
          at("decode_head.0.neck.0.decoder_channels")) {
        refuse("decode_head.1.neck.0.decoder_channels", "differ from those of the other decoder");
      }
    }
    if (!*at("backbone.keep_head").as_bool()) {
      refuse("backbone.keep_head", "must be true: its files hold _conv_head and _bn1");
    }
    if (*at("neck.0.image_channels").as_integer() != 3) {
      refuse("neck.0.image_channels", "must be 3: its files hold weights for images");
    }
    const LabelSpec* before = target("decode_head.0.target.0", experiment);
    const LabelSpec* change = target("decode_head.1.target.0", experiment);
    if (before->role != "semantic" || change->role != "change" ||
        at("decode_head.0.target").as_array()->size() != 2) {
      refuse("decode_head", "must be a head of both dates, then one of the change");
    }
    out_ = {{"model_type", "changemask"},
            {"encoder_type", "efficientnet-" + text("backbone.variant")},
            {"encoder_weights", nullptr},
            {"temporal_interaction_type", text("neck.0.interaction_type")},
            {"temporal_kernel_size", *at("neck.0.kernel_size").as_integer()},
            {"temporal_dilation", *at("neck.0.dilation").as_integer()},
            {"num_semantic_classes", channels("decode_head.0", *before)},
            {"num_change_classes", channels("decode_head.1", *change)},
            {"loss_config", losses()},
            {"torch_dtype", "float32"}};
    const bool change_only =
        at("predict") == config::Value{config::Array{config::Value{change->name}}};
    out_["architectures"] = {change_only ? "ChangeMaskForChangeDetection" : "ChangeMaskModel"};
    if (out_["temporal_dilation"] != 1) out_[kDilationApplied] = true;
    const std::string fusion = text("neck.0.symmetric_fusion");
    out_["temporal_symmetric_fusion"] = fusion == "none" ? json() : json(fusion);
    for (const auto& one : *at("decode_head.0.neck.0.decoder_channels").as_array()) {
      out_["decoder_channels"].push_back(*one.as_integer());
    }
  }
  const json& get() const { return out_; }

 private:
  [[noreturn]] void refuse(const std::string& path, const std::string& what) const {
    throw UserError(fmt::format("{}: model.{}: {}, got {}", name_, path, what, at(path).str()));
  }
  const config::Value& at(const std::string& path) const {
    static const config::Value kNothing;
    const config::Value* found = model_.at(path);
    return found == nullptr ? kNothing : *found;
  }
  std::string text(const std::string& path) const { return *at(path).as_string(); }
  void need(const std::string& path, const std::string& type) const {
    if (at(path).as_string() != nullptr && text(path) == type) return;
    refuse(path, "must be \"" + type + "\" to be saved as torchange's ChangeMask");
  }
  const LabelSpec* target(const std::string& path, const Experiment& experiment) const {
    const auto* name = at(path).as_string();
    const LabelSpec* label = name == nullptr ? nullptr : experiment.labels.find(*name);
    if (label == nullptr) refuse(path, "must be written");
    return label;
  }
  std::int64_t channels(const std::string& head, const LabelSpec& label) const {
    const auto* written = at(head + ".out_channels").as_integer();
    return written == nullptr ? label.num_classes() : *written;
  }
  /// As far as it has words for them.
  json losses() const {
    json out = json::object();
    const auto number = [](const config::Value* value, double otherwise) {
      if (value == nullptr) return otherwise;
      if (const auto* whole = value->as_integer()) return static_cast<double>(*whole);
      return value->as_float() == nullptr ? otherwise : *value->as_float();
    };
    const auto* semantic = at("decode_head.0.loss_decode").as_array();
    for (int date = 0; semantic != nullptr && !semantic->empty() && date < 2; ++date) {
      const config::Value name{text(fmt::format("decode_head.0.target.{}", date))};
      for (const config::Value& loss : *semantic) {
        const auto& of = *loss.at("target")->as_array();
        if (!of.empty() && std::find(of.begin(), of.end(), name) == of.end()) continue;
        out[date == 0 ? "t1" : "t2"] = {{"ce", json::object()}, {"dice", json::object()}};
      }
    }
    const auto* change = at("decode_head.1.loss_decode").as_array();
    for (std::size_t i = 0; change != nullptr && i < change->size(); ++i) {
      const config::Value& loss = (*change)[i];
      const std::string type = *loss.at("type")->as_string();
      if (type == "BinaryCrossEntropyLoss" || type == "CrossEntropyLoss") {
        out["change"][type == "CrossEntropyLoss" ? "ce" : "bce"] = {
            {"ls", number(loss.at("label_smoothing"), 0)}};
      } else if (type == "TverskyLoss" || type == "DiceLoss") {
        out["change"]["dice"] = {{"gamma", number(loss.at("gamma"), 1)}};
      }
    }
    const auto* joint = at("joint_loss").as_array();
    if (joint != nullptr && !joint->empty()) out["sc"] = json::object();
    return out;
  }

  const config::Value& model_;
  std::string name_;
  json out_;
};

}  // namespace

bool is_changemask_config(const std::string& text) {
  const json config = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return config.is_object() && config.value("model_type", json()) == "changemask";
}

ConvertedConfig convert_changemask(const std::string& text, const std::string& name) {
  try {
    ConvertedConfig out;
    out.toml = toml_of(json::parse(text), name, out);
    out.not_needed.emplace_back("encoder_weights",
                                "the weights beside it hold the encoder: see [init] and test");
    return out;
  } catch (const json::exception& error) {
    throw UserError(name + ": a value is of another type than ChangeMaskConfig has: " +
                    error.what());
  }
}

void save_changemask(const std::string& config, const std::string& weights,
                     const std::string& folder) {
  const Loaded loaded = load_to_run({.config = config});
  const config::Value model = config::dump_slot(loaded.experiment.model);
  const Description description(model, loaded.experiment, config);
  const auto trained =
      trained_model(loaded.experiment, find_weights(loaded.experiment, weights));
  const TensorMap state = io::rename(io::state_of(*trained),
                                     io::inverse(backbones::key_rules("changemask")));
  make_folder(folder);
  const std::filesystem::path to(folder);
  io::write_tensors((to / "pytorch_model.bin").string(), state);
  write_text((to / "config.json").string(), description.get().dump(2) + "\n");
  const json info = {{"model_type", "changemask"}, {"version", "1.0.0"}};
  write_text((to / "model_info.json").string(), info.dump(2) + "\n");
  std::printf("%s: %zu tensors, config.json, model_info.json\n", folder.c_str(), state.size());
}

}  // namespace strata::tools
