// model: its slots, norms, losses, frozen stages, weights and windows.
#include <algorithm>
#include <array>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/inference/options.hpp"
#include "tools/convert/conversion.hpp"

namespace strata::tools::convert {
namespace {

using config::Schema;

Value norm(Conversion& c, const Json& json, const std::string& path) {
  if (json.is_null()) return text_value("none");
  Table table;
  std::string type = json.value("type", "BN");
  if (type == "SyncBN" || type == "MMSyncBN") {
    if (c.synced_norms++ == 0) {
      c.drop(path + ".type", "SyncBN: plain BN of one process is the same");
    }
    type = "BN";
  }
  table.set("type", text_value(type));
  for (const auto& [key, value] : json.items()) {
    if (key == "num_groups") {
      table.set("groups", value_of(value));
    } else if (key == "eps" || key == "momentum") {
      table.set(key, value_of(value));
    } else if (key == "requires_grad" ? !value.get<bool>() : key != "type") {
      c.lose(path + "." + key,
             key == "requires_grad" ? "freeze names what is not trained" : "no such key here");
    }
  }
  return table.size() == 1 ? text_value(type) : Value{std::move(table)};
}

/// The keys that backbones, necks and heads share in mmseg; `part` is the module that they are of.
bool layer_key(Conversion& c, Table& table, const Schema& schema, const std::string& key,
               const Json& value, const std::string& path, const std::string& part) {
  if (key == "norm_cfg") {
    c.set_checked(table, schema, "norm", norm(c, value, path), path);
  } else if (key == "act_cfg") {
    if (value.is_null() || value.value("type", "ReLU") == "ReLU") return true;
    c.set_checked(table, schema, "act", text_value(value.value("type", "")), path);
  } else if (key == "conv_cfg") {
    if (!value.is_null()) c.lose(path, "convolutions are plain ones here");
  } else if (key == "init_cfg" || key == "pretrained") {
    c.weights(value, path, part);
  } else {
    return false;
  }
  return true;
}

/// mmseg spells every stage out; here they follow from the width.
void hrnet(Conversion& c, Table& table, const Json& extra, const std::string& path) {
  const auto stage = [](std::int64_t modules, const char* block, std::vector<std::int64_t> blocks,
                        std::vector<std::int64_t> channels) {
    return Json{{"num_modules", modules},
                {"num_branches", channels.size()},
                {"block", block},
                {"num_blocks", blocks},
                {"num_channels", channels}};
  };
  try {
    const auto w = extra.at("stage4").at("num_channels").at(0).get<std::int64_t>();
    const auto same = [&](std::int64_t stem, std::int64_t blocks,
                          std::array<std::int64_t, 3> modules) {
      Json want;
      want["stage1"] = stage(1, "BOTTLENECK", {stem}, {64});
      for (std::int64_t i = 0; i < 3; ++i) {
        std::vector<std::int64_t> channels;
        for (std::int64_t k = 0; k < i + 2; ++k) channels.push_back(w << k);
        want["stage" + std::to_string(i + 2)] =
            stage(modules[static_cast<std::size_t>(i)], "BASIC",
                  std::vector<std::int64_t>(static_cast<std::size_t>(i + 2), blocks), channels);
      }
      // The order of keys says nothing.
      return nlohmann::json(want) == nlohmann::json(extra);
    };
    if (same(4, 4, {1, 4, 3})) {
      table.set("width", Value{w});
      return;
    }
    if (w == 18 && same(2, 2, {1, 3, 2})) {
      table.set("variant", text_value("hr18s"));
      return;
    }
  } catch (const Json::exception&) {
    // Not of the usual form.
  }
  c.lose(path, "only the usual HRNets are known here: width, or variant = \"hr18s\"");
}

void frozen_stages(Conversion& c, const Json& backbone, const Json& value,
                   const std::string& path) {
  const std::string type = backbone.value("type", "");
  if (!value.is_number_integer() || value.get<int>() < 0) return;
  if (!type.starts_with("ResNet") && !type.starts_with("ResNeXt")) {
    return c.lose(path, "name the parts in `freeze`");
  }
  const auto norm_cfg = backbone.find("norm_cfg");
  const bool groups =
      norm_cfg != backbone.end() && norm_cfg->is_object() && norm_cfg->value("type", "") == "GN";
  const bool deep = type.ends_with("V1c") || type.ends_with("V1d");
  for (const char* stem : deep ? std::vector<const char*>{"stem"}
                               : std::vector<const char*>{"conv1", groups ? "gn1" : "bn1"}) {
    c.freeze.push_back(text_value(std::string("backbone.") + stem));
  }
  for (int i = 1; i <= value.get<int>(); ++i) {
    c.freeze.push_back(text_value("backbone.layer" + std::to_string(i)));
  }
}

std::optional<Table> backbone(Conversion& c, const Json& json, const std::string& path) {
  const std::string type = json.value("type", "");
  return c.component(
      "backbone", type, json, path,
      [&](Table& table, const Schema& schema, const std::string& key, const Json& value) {
        const std::string at = path + "." + key;
        if (layer_key(c, table, schema, key, value, at, "backbone")) return true;
        if (type == "HRNet" && key == "extra") {
          hrnet(c, table, value, at);
        } else if (key == "num_stages" && value == 4) {
          return true;
        } else if (key == "in_channels" && value == 3) {
          return true;
        } else if (key == "with_cp") {
          if (value.get<bool>()) c.drop(at, "nothing is computed twice here");
        } else if (key == "frozen_stages") {
          frozen_stages(c, json, value, at);
        } else {
          return false;
        }
        return true;
      });
}

std::optional<Table> neck(Conversion& c, const Json& json, const std::string& path,
                          const std::string& part) {
  const std::string type = json.value("type", "");
  std::optional<Table> table =
      c.component("neck", type, json, path,
                  [&](Table& own, const Schema& schema, const std::string& key, const Json& value) {
                    return layer_key(c, own, schema, key, value, path + "." + key, part);
                  });
  // Of mmseg's necks and heads only those with a norm_cfg have a norm.
  const Schema* schema = table ? c.registry().find("neck", type)->schema : nullptr;
  if (table && !json.contains("norm_cfg") && schema->find("norm") != nullptr) {
    table->set("norm", text_value("none"));
  }
  return table;
}

void losses(Conversion& c, Table& head, const Json& json, const std::string& path) {
  Array all;
  const Json list = list_of(json);
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Json& one = list[i];
    const std::string at = place_in(json, path, i);
    std::string type = one.value("type", "");
    if (type == "CrossEntropyLoss" && one.value("use_sigmoid", false))
      type = "BinaryCrossEntropyLoss";
    const bool entropy = type.ends_with("CrossEntropyLoss");
    std::optional<Table> loss = c.component(
        "loss", type, one, at,
        [&](Table& own, const Schema&, const std::string& key, const Json& value) {
          if (key == "use_sigmoid" && entropy) return true;
          if (key == "avg_non_ignore") return true;
          if (key == "loss_name") {
            const auto name = value.get<std::string>();
            own.set("loss_name", text_value(name.starts_with("loss_") ? name.substr(5) : name));
            return true;
          }
          if (key == "ignore_index") {
            c.lose(at + "." + key,
                   "a label value, and the label's: data.labels.semantic.ignore_index");
            return true;
          }
          return false;
        });
    if (!loss) continue;
    // mmseg divides by all pixels unless told otherwise.
    if (entropy && !one.value("avg_non_ignore", false)) loss->set("average", text_value("all"));
    all.push_back(Value{std::move(*loss)});
  }
  if (all.size() == 1) {
    head.set("loss_decode", all.front());
  } else if (!all.empty()) {
    head.set("loss_decode", Value{std::move(all)});
  }
}

std::optional<Table> head(Conversion& c, const Json& json, const std::string& path,
                          const std::string& part) {
  const std::string type = json.value("type", "");
  std::optional<Table> table =
      c.component("head", type, json, path,
                  [&](Table& own, const Schema& schema, const std::string& key, const Json& value) {
                    const std::string at = path + "." + key;
                    if (layer_key(c, own, schema, key, value, at, part)) return true;
                    if (key == "num_classes") {
                      c.num_classes = value.get<std::int64_t>();
                    } else if (key == "ignore_index") {
                      c.ignore_index = value.get<std::int64_t>();
                    } else if (key == "dropout_ratio") {
                      own.set("dropout", Value{std::max(value.get<double>(), 0.0)});
                    } else if (key == "loss_decode") {
                      losses(c, own, value, at);
                    } else if (key == "sampler") {
                      if (!value.is_null()) c.lose(at, "losses are taken over all valid pixels");
                    } else {
                      return false;
                    }
                    return true;
                  });
  if (table && !json.contains("norm_cfg")) table->set("norm", text_value("none"));
  return table;
}

/// A neck or a head, or an array of them.
void slot(Conversion& c, Table& table, const std::string& key, const Json& json,
          const std::string& path) {
  const auto convert = [&](const Json& one, const std::string& at, const std::string& part) {
    return key == "neck" ? neck(c, one, at, part) : head(c, one, at, part);
  };
  if (!json.is_array()) {
    if (auto one = convert(json, path, key)) table.set(key, Value{*one});
    return;
  }
  Array all;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string at = place_in(json, path, i);
    if (auto one = convert(json[i], at, place_in(json, key, i))) all.push_back(Value{*one});
  }
  if (!all.empty()) table.set(key, Value{std::move(all)});
}

Table preprocessor(Conversion& c, const Json& json, const std::string& path) {
  Table table;
  for (const auto& [key, value] : json.items()) {
    if (key == "mean" || key == "std") {
      // Open-CD repeats them for each date.
      Json once = value;
      if (c.change && once.is_array() && once.size() % 2 == 0) {
        once = Json(std::vector<Json>(
            value.begin(), value.begin() + static_cast<std::ptrdiff_t>(value.size() / 2)));
      }
      table.set(key, value_of(once));
    } else if (key == "size_divisor" && !value.is_null()) {
      table.set(key, value_of(value));
    } else if (key == "bgr_to_rgb" && !value.get<bool>()) {
      c.lose(path + "." + key, "images are read as RGB");
    } else if (key == "size") {
      c.drop(path + "." + key, "crops have their size already");
    } else if (key == "pad_val" && value.is_number() && value.get<double>() != 0) {
      c.lose(path + "." + key, "padding has the mean colour");
    } else if (key == "seg_pad_val") {
      c.drop(path + "." + key, "padded labels get ignore_index");
    } else if (key == "test_cfg" && value.is_object() && value.contains("size_divisor")) {
      table.set("size_divisor", value_of(value["size_divisor"]));
    } else if (key != "type" && key != "bgr_to_rgb" && key != "pad_val" && !value.is_null()) {
      c.lose(path + "." + key, "no such key here");
    }
  }
  return table;
}

void windows(Conversion& c, const Json& json, const std::string& path) {
  if (json.value("mode", "whole") == "whole") return;
  Table table;
  for (const auto& [key, value] : json.items()) {
    c.set_checked(table, config::schema_of<InferenceOptions>(), key, value_of(value),
                  path + "." + key);
  }
  c.evaluate.set("inference", Value{std::move(table)});
}

}  // namespace

Table convert_model(Conversion& c) {
  const Json& json = c.part("model");
  const std::string type = json.value("type", "");
  Table table;
  if (c.schema_of("segmentor", type, "model") == nullptr) {
    throw UserError("model.type: " + c.registry().explain_missing("segmentor", type) +
                    "; configs of this model cannot be converted");
  }
  table.set("type", text_value(c.registry().find("segmentor", type)->name));
  c.change = type.starts_with("Siam");
  for (const auto& [key, value] : json.items()) {
    const std::string path = "model." + key;
    if (key == "type" || key == "train_cfg" || value.is_null()) continue;
    if (key == "data_preprocessor") {
      if (Table own = preprocessor(c, value, path); !own.empty())
        table.set("preprocessor", Value{own});
    } else if (key == "pretrained") {
      c.weights(value, path, "backbone");
    } else if (key == "backbone") {
      if (auto one = backbone(c, value, path)) table.set(key, Value{*one});
    } else if (key == "neck" || key == "decode_head" || key == "auxiliary_head") {
      slot(c, table, key, value, path);
    } else if (key == "test_cfg") {
      windows(c, value, path);
    } else {
      c.lose(path, "no such slot here");
    }
  }
  return table;
}

}  // namespace strata::tools::convert
