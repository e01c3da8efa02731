#include "tools/convert_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/config/schema.hpp"
#include "framework/inference/options.hpp"
#include "registry/builtin.hpp"

namespace strata::tools {
namespace {

using Json = nlohmann::ordered_json;
using config::Array;
using config::Table;
using config::Value;

constexpr std::int64_t kIgnoreIndex = 255;  // mmseg's default

/// What the data set classes of mmseg and Open-CD set in Python, where a dump does not show it.
struct KnownDataset {
  const char *img_suffix, *seg_map_suffix;
  bool reduce_zero_label;
};
const std::map<std::string, KnownDataset> kDatasets = {
    {"CityscapesDataset", {"_leftImg8bit.png", "_gtFine_labelTrainIds.png", false}},
    {"ADE20KDataset", {".jpg", ".png", true}},
    {"PascalVOCDataset", {".jpg", ".png", false}},
    {"PascalContextDataset", {".jpg", ".png", false}},
    {"COCOStuffDataset", {".jpg", "_labelTrainIds.png", false}},
    {"LoveDADataset", {".png", ".png", true}},
    {"PotsdamDataset", {".png", ".png", true}},
    {"ISPRSDataset", {".png", ".png", true}},
    {"LEVIR_CD_Dataset", {".png", ".png", false}}};

const std::set<std::string> kNotNeededHooks = {"timer", "param_scheduler", "sampler_seed",
                                               "runtime_info"};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Value value_of(const Json& json) {
  if (json.is_boolean()) return Value{json.get<bool>()};
  if (json.is_number_integer()) return Value{json.get<std::int64_t>()};
  if (json.is_number()) return Value{json.get<double>()};
  if (json.is_string()) return Value{json.get<std::string>()};
  if (json.is_array()) {
    Array array;
    for (const Json& one : json) array.push_back(value_of(one));
    return Value{std::move(array)};
  }
  Table table;
  if (json.is_object()) {
    for (const auto& [key, one] : json.items()) table.set(key, value_of(one));
  }
  return Value{std::move(table)};
}

Value text_value(std::string text) { return Value{std::move(text)}; }

class Converter {
 public:
  Converter(const Json& dump, const Registry& registry) : dump_(dump), registry_(registry) {}

  ConvertedConfig run() {
    Table root;
    train_cfg();
    Table model_table = model();
    root.set("model", Value{std::move(model_table)});
    root.set("data", Value{data()});
    optimizer(root);
    if (std::optional<Value> one = schedule()) root.set("schedule", *one);
    hooks();
    evaluator();
    for (const auto& [key, value] : dump_.items()) {
      if (seen_.count(key) > 0 || key == "val_cfg" || key == "test_cfg") continue;
      rest(key, value);
    }
    // In the order in which people read a config.
    const std::pair<const char*, Table*> parts[] = {
        {"train", &train_}, {"evaluate", &evaluate_}, {"hooks", &hooks_}, {"runtime", &runtime_}};
    if (!freeze_.empty()) root.set("freeze", Value{freeze_});
    for (const auto& [name, table] : parts) {
      if (!table->empty()) root.set(name, Value{*table});
    }
    if (!vars_.empty()) root.set("vars", Value{vars_});
    out_.toml = config::to_toml(Value{std::move(root)});
    return std::move(out_);
  }

 private:
  void lose(const std::string& path, const std::string& why) { out_.lost.emplace_back(path, why); }
  void drop(const std::string& path, const std::string& why) {
    out_.not_needed.emplace_back(path, why);
  }
  const Json& part(const char* key) {
    static const Json kNothing;
    seen_.insert(key);
    const auto place = dump_.find(key);
    return place == dump_.end() ? kNothing : *place;
  }

  // ---- components

  /// Sets a key if the component takes it with this value; says so otherwise.
  void set_checked(Table& table, const config::Schema& schema, const std::string& key, Value value,
                   const std::string& path) {
    if (schema.find(key) == nullptr) {
      bool alias = false;
      for (const config::Field& field : schema.fields) {
        alias = alias || std::count(field.aliases.begin(), field.aliases.end(), key) > 0;
      }
      if (!alias) return lose(path, "no such key here");
    }
    Table alone;
    alone.set(key, value);
    const std::shared_ptr<void> object = schema.make();
    config::Binder binder(registry_);
    binder.bind(schema, object.get(), Value{std::move(alone)});
    for (const Problem& problem : binder.problems) {
      if (problem.path == key || problem.path.starts_with(key + "."))
        return lose(path, problem.what);
    }
    table.set(key, std::move(value));
  }

  const config::Schema* schema_of(const std::string& kind, const std::string& type,
                                  const std::string& path) {
    if (const ComponentEntry* entry = registry_.find(kind, type)) return entry->schema;
    lose(path, registry_.explain_missing(kind, type));
    return nullptr;
  }

  /// A component under its own name, keys as they are but for those that `special` takes (returns
  /// true).
  template <class Special>
  std::optional<Table> component(const std::string& kind, const std::string& type, const Json& json,
                                 const std::string& path, const Special& special) {
    const config::Schema* schema = schema_of(kind, type, path);
    if (schema == nullptr) return std::nullopt;
    Table table;
    table.set("type", text_value(registry_.find(kind, type)->name));
    for (const auto& [key, value] : json.items()) {
      if (key == "type" || key == "_scope_" || special(table, *schema, key, value)) continue;
      if (value.is_null()) continue;  // mmseg's None: the default
      set_checked(table, *schema, key, value_of(value), path + "." + key);
    }
    return table;
  }

  /// The keys that backbones, necks and heads share in mmseg.
  bool layer_key(Table& table, const config::Schema& schema, const std::string& key,
                 const Json& value, const std::string& path) {
    if (key == "norm_cfg") {
      set_checked(table, schema, "norm", norm(value, path), path);
    } else if (key == "act_cfg") {
      if (value.is_null() || value.value("type", "ReLU") == "ReLU") return true;
      set_checked(table, schema, "act", text_value(value.value("type", "")), path);
    } else if (key == "conv_cfg") {
      if (!value.is_null()) lose(path, "convolutions are plain ones here");
    } else if (key == "init_cfg" || key == "pretrained") {
      weights(value, path);
    } else {
      return false;
    }
    return true;
  }

  Value norm(const Json& json, const std::string& path) {
    if (json.is_null()) return text_value("none");
    Table table;
    std::string type = json.value("type", "BN");
    if (type == "SyncBN" || type == "MMSyncBN") {
      if (synced_++ == 0) drop(path + ".type", "SyncBN: plain BN of one process is the same");
      type = "BN";
    }
    table.set("type", text_value(type));
    for (const auto& [key, value] : json.items()) {
      if (key == "num_groups") {
        table.set("groups", value_of(value));
      } else if (key == "eps" || key == "momentum") {
        table.set(key, value_of(value));
      } else if (key == "requires_grad" ? !value.get<bool>() : key != "type") {
        lose(path + "." + key,
             key == "requires_grad" ? "freeze names what is not trained" : "no such key here");
      }
    }
    return table.size() == 1 ? text_value(type) : Value{std::move(table)};
  }

  void weights(const Json& value, const std::string& path) {
    const Json* from = &value;
    if (value.is_object()) {
      if (value.value("type", "") != "Pretrained") {
        return drop(path, "initialisation is each component's own");
      }
      from = &value["checkpoint"];
    }
    if (!from->is_string()) return;
    lose(path, "weights: bring " + from->get<std::string>() +
                   " here with `convert`, then name the file in init.from");
  }

  std::optional<Table> backbone(const Json& json, const std::string& path) {
    const std::string type = json.value("type", "");
    return component(
        "backbone", type, json, path,
        [&](Table& table, const config::Schema& schema, const std::string& key, const Json& value) {
          const std::string at = path + "." + key;
          if (layer_key(table, schema, key, value, at)) return true;
          if (type == "HRNet" && key == "extra") {
            hrnet(table, value, at);
          } else if (key == "num_stages" && value == 4) {
            return true;
          } else if (key == "in_channels" && value == 3) {
            return true;
          } else if (key == "with_cp") {
            if (value.get<bool>()) drop(at, "nothing is computed twice here");
          } else if (key == "frozen_stages") {
            frozen_stages(json, value, at);
          } else {
            return false;
          }
          return true;
        });
  }

  /// mmseg spells every stage out; here they follow from the width.
  void hrnet(Table& table, const Json& extra, const std::string& path) {
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
    lose(path, "only the usual HRNets are known here: width, or variant = \"hr18s\"");
  }

  void frozen_stages(const Json& backbone, const Json& value, const std::string& path) {
    const std::string type = backbone.value("type", "");
    if (!value.is_number_integer() || value.get<int>() < 0) return;
    if (!type.starts_with("ResNet") && !type.starts_with("ResNeXt")) {
      return lose(path, "name the parts in `freeze`");
    }
    const auto norm = backbone.find("norm_cfg");
    const bool groups =
        norm != backbone.end() && norm->is_object() && norm->value("type", "") == "GN";
    const bool deep = type.ends_with("V1c") || type.ends_with("V1d");
    for (const char* stem : deep ? std::vector<const char*>{"stem"}
                                 : std::vector<const char*>{"conv1", groups ? "gn1" : "bn1"}) {
      freeze_.push_back(text_value(std::string("backbone.") + stem));
    }
    for (int i = 1; i <= value.get<int>(); ++i) {
      freeze_.push_back(text_value("backbone.layer" + std::to_string(i)));
    }
  }

  std::optional<Table> neck(const Json& json, const std::string& path) {
    const std::string type = json.value("type", "");
    std::optional<Table> table = component(
        "neck", type, json, path,
        [&](Table& own, const config::Schema& schema, const std::string& key, const Json& value) {
          return layer_key(own, schema, key, value, path + "." + key);
        });
    // Of mmseg's necks and heads only those with a norm_cfg have a norm.
    const config::Schema* schema = table ? registry_.find("neck", type)->schema : nullptr;
    if (table && !json.contains("norm_cfg") && schema->find("norm") != nullptr) {
      table->set("norm", text_value("none"));
    }
    return table;
  }

  std::optional<Table> head(const Json& json, const std::string& path) {
    const std::string type = json.value("type", "");
    std::optional<Table> table = component(
        "head", type, json, path,
        [&](Table& own, const config::Schema& schema, const std::string& key, const Json& value) {
          const std::string at = path + "." + key;
          if (layer_key(own, schema, key, value, at)) return true;
          if (key == "num_classes") {
            num_classes_ = value.get<std::int64_t>();
          } else if (key == "ignore_index") {
            ignore_index_ = value.get<std::int64_t>();
          } else if (key == "dropout_ratio") {
            own.set("dropout", Value{std::max(value.get<double>(), 0.0)});
          } else if (key == "loss_decode") {
            losses(own, value, at);
          } else if (key == "sampler") {
            if (!value.is_null()) lose(at, "losses are taken over all valid pixels");
          } else {
            return false;
          }
          return true;
        });
    if (table && !json.contains("norm_cfg")) table->set("norm", text_value("none"));
    return table;
  }

  void losses(Table& head, const Json& json, const std::string& path) {
    Array all;
    const std::size_t count = json.is_array() ? json.size() : 1;
    for (std::size_t i = 0; i < count; ++i) {
      const Json& one = json.is_array() ? json[i] : json;
      const std::string at = json.is_array() ? path + "." + std::to_string(i) : path;
      std::string type = one.value("type", "");
      if (type == "CrossEntropyLoss" && one.value("use_sigmoid", false))
        type = "BinaryCrossEntropyLoss";
      const bool entropy = type.ends_with("CrossEntropyLoss");
      std::optional<Table> loss = component(
          "loss", type, one, at,
          [&](Table& own, const config::Schema&, const std::string& key, const Json& value) {
            if (key == "use_sigmoid" && entropy) return true;
            if (key == "avg_non_ignore") return true;
            if (key == "loss_name") {
              std::string name = value.get<std::string>();
              own.set("loss_name", text_value(name.starts_with("loss_") ? name.substr(5) : name));
              return true;
            }
            if (key == "ignore_index") {
              lose(at + "." + key,
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

  // ---- model

  Table model() {
    const Json& json = part("model");
    const std::string type = json.value("type", "");
    Table table;
    if (schema_of("segmentor", type, "model") == nullptr) {
      throw UserError("model.type: " + registry_.explain_missing("segmentor", type) +
                      "; configs of this model cannot be converted");
    }
    table.set("type", text_value(registry_.find("segmentor", type)->name));
    change_ = type.starts_with("Siam");
    for (const auto& [key, value] : json.items()) {
      const std::string path = "model." + key;
      if (key == "type" || key == "train_cfg" || value.is_null()) continue;
      if (key == "data_preprocessor") {
        if (Table own = preprocessor(value, path); !own.empty())
          table.set("preprocessor", Value{own});
      } else if (key == "pretrained") {
        weights(value, path);
      } else if (key == "backbone") {
        if (auto one = backbone(value, path)) table.set(key, Value{*one});
      } else if (key == "neck" || key == "decode_head" || key == "auxiliary_head") {
        slot(table, key, value, path);
      } else if (key == "test_cfg") {
        windows(value, path);
      } else {
        lose(path, "no such slot here");
      }
    }
    return table;
  }

  void windows(const Json& json, const std::string& path) {
    if (json.value("mode", "whole") == "whole") return;
    Table table;
    for (const auto& [key, value] : json.items()) {
      set_checked(table, config::schema_of<InferenceOptions>(), key, value_of(value),
                  path + "." + key);
    }
    evaluate_.set("inference", Value{std::move(table)});
  }

  void slot(Table& table, const std::string& key, const Json& json, const std::string& path) {
    const auto convert = [&](const Json& one, const std::string& at) {
      return key == "neck" ? neck(one, at) : head(one, at);
    };
    if (!json.is_array()) {
      if (auto one = convert(json, path)) table.set(key, Value{*one});
      return;
    }
    Array all;
    for (std::size_t i = 0; i < json.size(); ++i) {
      if (auto one = convert(json[i], path + "." + std::to_string(i))) all.push_back(Value{*one});
    }
    if (!all.empty()) table.set(key, Value{std::move(all)});
  }

  Table preprocessor(const Json& json, const std::string& path) {
    Table table;
    for (const auto& [key, value] : json.items()) {
      if (key == "mean" || key == "std") {
        // Open-CD repeats them for each date.
        Json once = value;
        if (change_ && once.is_array() && once.size() % 2 == 0) {
          once = Json(std::vector<Json>(
              value.begin(), value.begin() + static_cast<std::ptrdiff_t>(value.size() / 2)));
        }
        table.set(key, value_of(once));
      } else if (key == "size_divisor" && !value.is_null()) {
        table.set(key, value_of(value));
      } else if (key == "bgr_to_rgb" && !value.get<bool>()) {
        lose(path + "." + key, "images are read as RGB");
      } else if (key == "size") {
        drop(path + "." + key, "crops have their size already");
      } else if (key == "pad_val" && value.is_number() && value.get<double>() != 0) {
        lose(path + "." + key, "padding has the mean colour");
      } else if (key == "seg_pad_val") {
        drop(path + "." + key, "padded labels get ignore_index");
      } else if (key == "test_cfg" && value.is_object() && value.contains("size_divisor")) {
        table.set("size_divisor", value_of(value["size_divisor"]));
      } else if (key != "type" && key != "bgr_to_rgb" && key != "pad_val" && !value.is_null()) {
        lose(path + "." + key, "no such key here");
      }
    }
    return table;
  }

  // ---- data

  Table data() {
    Table table, labels;
    labels.set(target(), Value{label()});
    table.set("labels", Value{std::move(labels)});
    for (const auto& [key, name] : {std::pair{"train_dataloader", "train"},
                                    {"val_dataloader", "val"},
                                    {"test_dataloader", "test"}}) {
      const Json& json = part(key);
      if (json.is_object()) {
        if (auto one = split(json, key)) table.set(name, Value{*one});
      }
    }
    return table;
  }

  std::string target() const { return change_ ? "change" : "semantic"; }

  Table label() {
    Table table;
    const Json& loader = part("train_dataloader");
    Json meta;
    if (loader.is_object() && loader.contains("dataset")) {
      meta = loader["dataset"].value("metainfo", Json::object());
    }
    Array classes;
    if (meta.is_object() && meta.contains("classes")) {
      for (const Json& one : meta["classes"]) classes.push_back(value_of(one));
    } else {
      for (std::int64_t c = 0; c < num_classes_; ++c) {
        classes.push_back(text_value("class_" + std::to_string(c)));
      }
      lose("train_dataloader.dataset.metainfo",
           "the dump does not name the classes: rename class_0, class_1, …");
    }
    table.set("classes", Value{std::move(classes)});
    if (meta.is_object() && meta.contains("palette"))
      table.set("palette", value_of(meta["palette"]));
    table.set("ignore_index", Value{ignore_index_});
    if (change_) table.set("role", text_value("change"));
    return table;
  }

  std::optional<Table> split(const Json& json, const std::string& path) {
    Table table;
    const Json* dataset = json.contains("dataset") ? &json["dataset"] : nullptr;
    if (dataset == nullptr) return std::nullopt;
    std::string at = path + ".dataset";
    while (dataset->value("type", "") == "RepeatDataset") {
      drop(at, "training draws without end");
      dataset = &(*dataset)["dataset"];
      at += ".dataset";
    }
    if (!dataset->contains("data_prefix")) {
      lose(at,
           "only data sets of folders are converted, this is " + dataset->value("type", "unknown"));
      return std::nullopt;
    }
    if (json.contains("batch_size")) table.set("batch_size", value_of(json["batch_size"]));
    if (json.contains("num_workers")) table.set("workers", value_of(json["num_workers"]));
    for (const auto& [key, value] : json.items()) {
      if (key != "batch_size" && key != "num_workers" && key != "dataset") {
        drop(path + "." + key, "loader threads are threads; training draws without end, shuffled");
      }
    }
    bool reduce_zero_label = false;
    Array transforms =
        pipeline(dataset->value("pipeline", Json::array()), at + ".pipeline", reduce_zero_label);
    table.set("dataset", Value{folder_dataset(*dataset, at, reduce_zero_label)});
    if (!transforms.empty()) table.set("transforms", Value{std::move(transforms)});
    return table;
  }

  Table folder_dataset(const Json& json, const std::string& path, bool reduce_zero_label) {
    const std::string type = json.value("type", "");
    const Json prefix = json.value("data_prefix", Json::object());
    const auto known = kDatasets.find(type);
    std::string img =
        json.value("img_suffix", known != kDatasets.end() ? known->second.img_suffix : ".jpg");
    std::string seg = json.value("seg_map_suffix",
                                 known != kDatasets.end() ? known->second.seg_map_suffix : ".png");
    if (known == kDatasets.end() && type != "BaseSegDataset") {
      lose(path + ".type", type + " may do more than read folders; suffixes are guessed");
    }
    reduce_zero_label =
        reduce_zero_label || (known != kDatasets.end() && known->second.reduce_zero_label);
    reduce_zero_label = json.value("reduce_zero_label", reduce_zero_label);
    std::string root = json.value("data_root", "");
    while (root.size() > 1 && root.back() == '/') root.pop_back();
    if (!root.empty()) {
      const Value* shared = vars_.find("data_root");
      if (shared == nullptr) shared = &vars_.set("data_root", text_value(root));
      if (*shared->as_string() == root) root = "${vars.data_root}";
      root += '/';
    }
    Table table;
    if (change_) {
      Table targets, folder;
      table.set("type", text_value("ChangeFolder"));
      table.set("data_root", text_value(root.empty() ? "." : root.substr(0, root.size() - 1)));
      table.set("image_dirs", Value{Array{text_value(prefix.value("img_path_from", "A")),
                                          text_value(prefix.value("img_path_to", "B"))}});
      folder.set("folder", text_value(prefix.value("seg_map_path", "label")));
      targets.set(target(), Value{std::move(folder)});
      table.set("targets", Value{std::move(targets)});
    } else {
      table.set("type", text_value("SegmentationFolder"));
      table.set("image_dir", text_value(root + prefix.value("img_path", "")));
      table.set("label_dir", text_value(root + prefix.value("seg_map_path", "")));
    }
    table.set("img_suffix", text_value(img));
    table.set("seg_map_suffix", text_value(seg));
    if (reduce_zero_label && !change_) table.set("reduce_zero_label", Value{true});
    if (std::string file = json.value("ann_file", ""); !file.empty()) {
      table.set("ann_file", text_value(root + file));
    }
    const std::set<std::string> done = {"type",           "data_root",         "data_prefix",
                                        "pipeline",       "metainfo",          "img_suffix",
                                        "seg_map_suffix", "reduce_zero_label", "ann_file"};
    for (const auto& [key, value] : json.items()) {
      if (done.count(key) == 0 && !value.is_null()) lose(path + "." + key, "no such key here");
    }
    return table;
  }

  Array pipeline(const Json& json, const std::string& path, bool& reduce_zero_label) {
    Array transforms;
    bool labelled = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
      const std::string at = path + "." + std::to_string(i);
      std::string type = json[i].value("type", "");
      if (type.starts_with("MultiImg")) type = type.substr(8);
      if (type == "LoadAnnotations") {
        labelled = true;
        reduce_zero_label = reduce_zero_label || json[i].value("reduce_zero_label", false);
      }
      if (type.starts_with("Load") || type.starts_with("Pack")) continue;
      if (type == "Resize" && !labelled) {
        lose(at,
             "labels are resized with their images, so scores are of that size, not of the file's");
      }
      std::optional<Table> one = component(
          "transform", type, json[i], at,
          [&](Table& own, const config::Schema&, const std::string& key, const Json& value) {
            // mmseg gives width and height to scale, height and width to crop_size.
            if (key == "scale" && value.is_array() && value.size() == 2 && value[0].is_number()) {
              own.set("size", Value{Array{value_of(value[1]), value_of(value[0])}});
            } else if (key == "crop_size") {
              own.set("size", value.is_array() ? value_of(value)
                                               : Value{Array{value_of(value), value_of(value)}});
            } else {
              return false;
            }
            return true;
          });
      if (!one) continue;
      if (type == "RandomCrop" && !json[i].contains("cat_max_ratio"))
        one->set("cat_max_ratio", Value{1.0});
      if (type == "Resize" && !one->contains("size")) {
        lose(at, "a size is needed here");
        continue;
      }
      transforms.push_back(Value{std::move(*one)});
    }
    return transforms;
  }

  // ---- run

  void train_cfg() {
    const Json& json = part("train_cfg");
    if (!json.is_object()) return;
    if (json.contains("max_iters")) {
      steps_ = json["max_iters"].get<std::int64_t>();
      train_.set("steps", Value{*steps_});
    } else if (json.contains("max_epochs")) {
      train_.set("epochs", value_of(json["max_epochs"]));
    }
    if (json.contains("val_interval")) {
      evaluate_.set(steps_ ? "interval" : "interval_epochs", value_of(json["val_interval"]));
    }
    for (const auto& [key, value] : json.items()) {
      if (key != "type" && key != "max_iters" && key != "max_epochs" && key != "val_interval") {
        lose("train_cfg." + key, "no such key here");
      }
    }
  }

  void optimizer(Table& root) {
    const Json& wrapper = part("optim_wrapper");
    if (!wrapper.is_object() || !wrapper.contains("optimizer")) return;
    const Json& json = wrapper["optimizer"];
    const std::string path = "optim_wrapper.optimizer";
    std::optional<Table> table = component(
        "optimizer", json.value("type", ""), json, path,
        [](Table&, const config::Schema&, const std::string&, const Json&) { return false; });
    if (const std::string type = wrapper.value("type", "OptimWrapper"); type != "OptimWrapper") {
      lose("optim_wrapper.type", type + ": numbers are float32 here");
    }
    for (const auto& [key, value] : wrapper.items()) {
      if (key == "type" || key == "optimizer" || value.is_null()) continue;
      if (key == "accumulative_counts") {
        train_.set("accumulate", value_of(value));
        if (steps_)
          lose("optim_wrapper." + key, "train.steps counts optimizer steps: divide it by this");
      } else if (key == "clip_grad" && value.contains("max_norm") &&
                 value.value("norm_type", 2) == 2) {
        train_.set("clip_grad", value_of(value["max_norm"]));
      } else if (key == "paramwise_cfg" && table) {
        paramwise(*table, value);
      } else {
        lose("optim_wrapper." + key, "no such key here");
      }
    }
    if (table) root.set("optimizer", Value{std::move(*table)});
  }

  void paramwise(Table& optimizer, const Json& json) {
    const std::string path = "optim_wrapper.paramwise_cfg.";
    Table rules;
    for (const auto& [key, value] : json.items()) {
      if (key == "norm_decay_mult" || key == "bias_decay_mult") {
        optimizer.set(key, value_of(value));
      } else if (key == "custom_keys") {
        for (const auto& [match, settings] : value.items()) {
          Table rule;
          rule.set("match", text_value(match));
          for (const char* mult : {"lr_mult", "decay_mult"}) {
            if (settings.contains(mult)) rule.set(mult, value_of(settings[mult]));
          }
          rule.set("optional", Value{true});  // mmseg does not say when a key matches nothing
          std::string name = match;
          std::replace_if(
              name.begin(), name.end(),
              [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
          rules.set(name, Value{std::move(rule)});
        }
      } else {
        lose(path + key, "no such key here");
      }
    }
    if (rules.empty()) return;
    optimizer.set("paramwise_mode", text_value("longest"));
    optimizer.set("paramwise", Value{std::move(rules)});
  }

  /// mmengine chains schedulers; here one has a warm-up in front.
  std::optional<Value> schedule() {
    const Json& given = part("param_scheduler");
    const Json list = given.is_array()    ? given
                      : given.is_object() ? Json::array({given})
                                          : Json::array();
    std::optional<Table> table;
    std::optional<std::int64_t> warm;
    double start = 0;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Json& one = list[i];
      const std::string path = "param_scheduler." + std::to_string(i), type = one.value("type", "");
      const bool by_epoch = one.value("by_epoch", true);
      const std::int64_t begin = one.value("begin", std::int64_t{0});
      if (type == "LinearLR" && i + 1 < list.size() && begin == 0 && one.contains("end") &&
          !by_epoch) {
        warm = one["end"].get<std::int64_t>();
        start = one.value("start_factor", 1.0 / 3);
        continue;
      }
      if (by_epoch) {
        lose(path, "schedules count steps here, not epochs");
        continue;
      }
      if (table) {
        lose(path, "one schedule with a linear warm-up is what there is here");
        continue;
      }
      table = component(
          "schedule", type, one, path,
          [&](Table& own, const config::Schema& schema, const std::string& key, const Json& value) {
            if (key == "by_epoch" || key == "begin" || key == "end" || key == "T_max" ||
                key == "verbose")
              return true;
            if (key == "eta_min") {
              set_checked(own, schema, "min_lr", value_of(value), path + "." + key);
            } else if (key == "milestones" && begin > 0) {
              Array later;
              for (const Json& step : value)
                later.push_back(Value{step.get<std::int64_t>() - begin});
              own.set(key, Value{std::move(later)});
            } else {
              return false;
            }
            return true;
          });
      if (!table) continue;
      if (begin != warm.value_or(0)) table->set("begin", Value{begin});
      const std::int64_t end = one.contains("end")     ? one["end"].get<std::int64_t>()
                               : one.contains("T_max") ? begin + one["T_max"].get<std::int64_t>()
                                                       : steps_.value_or(0);
      if (steps_ && end != *steps_ &&
          table->find("type")->as_string()->find("Step") == std::string::npos) {
        table->set("end", Value{end});
      }
    }
    if (warm) {
      if (!table) (table = Table())->set("type", text_value("ConstantLR"));
      Table warmup;
      warmup.set("steps", Value{*warm});
      warmup.set("start_factor", Value{start});
      table->set("warmup", Value{std::move(warmup)});
    }
    if (!table) return std::nullopt;
    return Value{std::move(*table)};
  }

  void hooks() {
    const Json& json = part("default_hooks");
    for (const auto& [key, value] : json.items()) {
      const std::string path = "default_hooks." + key;
      if (key == "logger") {
        if (value.contains("interval")) train_.set("log_interval", value_of(value["interval"]));
      } else if (key == "checkpoint") {
        checkpoint(value, path);
      } else if (key == "visualization") {
        if (value.value("draw", false))
          lose(path, "pictures are in report.html; `predict` makes more");
      } else if (kNotNeededHooks.count(key) == 0 && !value.is_null()) {
        lose(path, "no such hook here");
      }
    }
    const Json& custom = part("custom_hooks");
    for (std::size_t i = 0; i < custom.size(); ++i) {
      const std::string path = "custom_hooks." + std::to_string(i),
                        type = custom[i].value("type", "");
      auto one = component(
          "hook", type, custom[i], path,
          [](Table&, const config::Schema&, const std::string&, const Json&) { return false; });
      if (one) hooks_.set(lower(type), Value{std::move(*one)});
    }
  }

  void checkpoint(const Json& json, const std::string& path) {
    static const std::map<std::string, std::string> kScores = {
        {"mIoU", "miou"},      {"mDice", "mf1"}, {"mFscore", "mf1"},
        {"aAcc", "aacc"},      {"mAcc", "macc"}, {"mPrecision", "mprecision"},
        {"mRecall", "mrecall"}};
    for (const auto& [key, value] : json.items()) {
      if (key == "interval") {
        if (json.value("by_epoch", true)) {
          drop(path + "." + key, "a checkpoint is written with each validation");
        } else {
          train_.set("checkpoint_interval", value_of(value));
        }
      } else if (key == "max_keep_ckpts" && value.is_number() && value.get<int>() > 0) {
        train_.set("keep_last", value_of(value));
      } else if (key == "save_best" && value.is_string() && value != "auto") {
        const auto score = kScores.find(value.get<std::string>());
        if (score == kScores.end()) {
          lose(path + "." + key, "name one of this program's scores in evaluate.best");
        } else {
          evaluate_.set("best", text_value(score->second));
        }
      } else if (key == "rule") {
        drop(path + "." + key, "evaluate.best_rule finds out by itself");
      }
    }
  }

  void evaluator() {
    Table metrics;
    const Json& given = part("val_evaluator");
    part("test_evaluator");
    const Json list = given.is_array()    ? given
                      : given.is_object() ? Json::array({given})
                                          : Json::array();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string type = list[i].value("type", "");
      const std::string path =
          given.is_array() ? "val_evaluator." + std::to_string(i) : "val_evaluator";
      if (schema_of("metric", type == "mmseg.IoUMetric" ? "IoUMetric" : type, path) == nullptr)
        continue;
      Table metric;
      metric.set("type", text_value(type == "mmseg.IoUMetric" ? "IoUMetric" : type));
      for (const auto& [key, value] : list[i].items()) {
        if (key == "iou_metrics") {
          drop(path + "." + key, "all of its numbers are always given");
        } else if (key != "type") {
          lose(path + "." + key, "no such key here");
        }
      }
      const bool scores_iou = type.ends_with("IoUMetric");
      metrics.set(scores_iou ? "iou" : lower(type), Value{std::move(metric)});
    }
    if (!metrics.empty()) evaluate_.set("metrics", Value{std::move(metrics)});
  }

  /// What is left at the top of a config.
  void rest(const std::string& key, const Json& value) {
    if (value.is_null() || (value.is_object() && value.empty())) return;
    if (key == "load_from") {
      weights(value, key);
    } else if (key == "work_dir") {
      runtime_.set("work_dir", value_of(value));
    } else if (key == "randomness") {
      if (value.contains("seed") && value["seed"].is_number())
        runtime_.set("seed", value_of(value["seed"]));
    } else if (key == "resume") {
      if (value == true) lose(key, "resume with `train --resume`");
    } else if (key == "tta_model" || key == "tta_pipeline" || key == "img_ratios") {
      drop(key, "test-time augmentation is asked for when testing");
    } else if (key == "auto_scale_lr") {
      if (value.value("enable", false)) lose(key, "set optimizer.lr for the batch");
    } else if (key == "custom_imports") {
      lose(key, "plugins: what it imports has to be written as one");
    } else if (const std::set<std::string> machinery = {"default_scope", "env_cfg", "vis_backends",
                                                        "visualizer", "log_processor", "log_level",
                                                        "launcher"};
               machinery.count(key) > 0) {
      drop(key, "machinery of mmengine");
    } else {
      drop(key, "a variable of the Python file: its uses are resolved in the dump");
    }
  }

  const Json& dump_;
  const Registry& registry_;
  ConvertedConfig out_;
  std::set<std::string> seen_;
  Table train_, evaluate_, hooks_, runtime_, vars_;
  Array freeze_;
  bool change_ = false;
  std::int64_t num_classes_ = 0, ignore_index_ = kIgnoreIndex;
  std::optional<std::int64_t> steps_;
  int synced_ = 0;
};

}  // namespace

ConvertedConfig convert_config(const std::string& text, const std::string& name,
                               const Registry& registry) {
  const Json dump = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!dump.is_object() || !dump.contains("model") || !dump["model"].is_object()) {
    throw UserError(name +
                    ": is no dumped config: JSON of an object with \"model\" is expected; "
                    "json.dump(config.to_dict(), file) in Python writes one");
  }
  try {
    return Converter(dump, registry).run();
  } catch (const Json::exception& error) {
    throw UserError(name + ": a value is of another type than in mmseg's configs: " + error.what());
  } catch (const UserError& error) {
    throw UserError(name + ": " + error.what());
  }
}

void convert_config_file(const std::string& in, const std::string& out) {
  Registry registry;
  register_builtin_components(registry);
  const ConvertedConfig converted = convert_config(read_text(in), in, registry);
  std::string head = "# Converted from " + in.substr(in.rfind('/') + 1) + "\n";
  for (const auto& [path, why] : converted.lost) {
    head += "# not carried over: " + path + ": " + why + "\n";
  }
  write_text(out, head + "\n" + converted.toml);
  std::printf("%s: check it with `validate %s`; paths in it count from its folder\n", out.c_str(),
              out.c_str());
  for (const auto& [title, entries] : {std::pair{"not carried over", &converted.lost},
                                       std::pair{"not needed here", &converted.not_needed}}) {
    if (entries->empty()) continue;
    std::printf("\n%s\n", title);
    for (const auto& [path, why] : *entries) std::printf("  %s: %s\n", path.c_str(), why.c_str());
  }
}

}  // namespace strata::tools
