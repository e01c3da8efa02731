// Dataloaders: labels, folders, data sets of data sets, transforms, samplers.
#include <map>
#include <set>

#include "tools/convert/conversion.hpp"

namespace strata::tools::convert {
namespace {

using config::Schema;

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

/// A split's data set and what its pipelines do to a sample.
struct Source {
  Table dataset;
  Array transforms;
};

std::string target(const Conversion& c) { return c.change ? "change" : "semantic"; }

bool is_pair(const Json& json) {
  return json.is_array() && json.size() == 2 && json[0].is_number();
}

/// mmcv's (width, height), ours [height, width].
Value turned(const Json& json) { return Value{Array{value_of(json[1]), value_of(json[0])}}; }

/// The innermost data set that has classes.
Json metainfo(const Json& dataset) {
  if (dataset.contains("metainfo") && dataset["metainfo"].is_object() &&
      dataset["metainfo"].contains("classes")) {
    return dataset["metainfo"];
  }
  if (dataset.contains("dataset")) return metainfo(dataset["dataset"]);
  for (const Json& one : dataset.value("datasets", Json::array())) {
    if (Json meta = metainfo(one); !meta.empty()) return meta;
  }
  return Json::object();
}

Table label(Conversion& c) {
  Table table;
  const Json& loader = c.part("train_dataloader");
  Json meta = Json::object();
  if (loader.is_object() && loader.contains("dataset")) meta = metainfo(loader["dataset"]);
  Array classes;
  if (meta.contains("classes")) {
    for (const Json& one : meta["classes"]) classes.push_back(value_of(one));
  } else {
    for (std::int64_t i = 0; i < c.num_classes; ++i) {
      classes.push_back(text_value("class_" + std::to_string(i)));
    }
    c.lose("train_dataloader.dataset.metainfo",
           "the dump does not name the classes: rename class_0, class_1, …");
  }
  table.set("classes", Value{std::move(classes)});
  if (meta.contains("palette")) table.set("palette", value_of(meta["palette"]));
  table.set("ignore_index", Value{c.ignore_index});
  if (c.change) table.set("role", text_value("change"));
  return table;
}

// ---- transforms

/// The keys whose form or name differs; true when the key is done with.
bool transform_key(Conversion& c, Table& own, const std::string& type, const std::string& key,
                   const Json& value, const std::string& path) {
  if ((key == "scale" || (key == "size" && type == "Pad") ||
       (key == "crop_size" && type == "CenterCrop")) &&
      is_pair(value)) {
    own.set("size", turned(value));
  } else if (key == "crop_size") {
    own.set("size",
            value.is_array() ? value_of(value) : Value{Array{value_of(value), value_of(value)}});
  } else if (key == "img_scale" && type == "RandomMosaic") {
    own.set("size", value_of(value));
  } else if (key == "scales") {
    Array sizes;
    for (const Json& one : value) {
      if (is_pair(one)) {
        sizes.push_back(turned(one));
      } else {
        sizes.push_back(type == "ResizeShortestEdge" ? value_of(one)
                                                     : Value{Array{value_of(one), value_of(one)}});
      }
    }
    own.set(type == "ResizeShortestEdge" ? "size" : "sizes", Value{std::move(sizes)});
  } else if (key == "center" && is_pair(value)) {
    own.set(key, turned(value));
  } else if (key == "cutout_shape" && is_pair(value)) {
    own.set(key, turned(value));
  } else if (key == "pad_val" && value.is_object()) {
    own.set(key, value_of(value.value("img", Json(0))));
  } else if (key == "seg_pad_val") {
    c.drop(path, "padded labels get ignore_index");
  } else {
    return key == "resize_type";
  }
  return true;
}

Array pipeline(Conversion& c, const Json& json, const std::string& path, bool& reduce_zero_label) {
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
      c.lose(at,
             "labels are resized with their images, so scores are of that size, not of the file's");
    }
    const bool choice = type == "RandomChoiceResize";
    if (choice && json[i].value("resize_type", "Resize") == "ResizeShortestEdge") {
      type = "ResizeShortestEdge";
    }
    std::optional<Table> one =
        c.component("transform", type, json[i], at,
                    [&](Table& own, const Schema&, const std::string& key, const Json& value) {
                      return transform_key(c, own, type, key, value, at + "." + key);
                    });
    if (!one) continue;
    // Where mmcv's default is another.
    if (type == "RandomCrop" && !json[i].contains("cat_max_ratio"))
      one->set("cat_max_ratio", Value{1.0});
    if ((type == "RandomResize" || type == "RandomChoiceResize") &&
        !json[i].contains("keep_ratio")) {
      one->set("keep_ratio", Value{false});
    }
    if (type == "Resize" && !one->contains("size") && !one->contains("scale_factor")) {
      c.lose(at, "a size is needed here");
      continue;
    }
    transforms.push_back(Value{std::move(*one)});
  }
  return transforms;
}

// ---- data sets

Table folder_dataset(Conversion& c, const Json& json, const std::string& path,
                     bool reduce_zero_label) {
  const std::string type = json.value("type", "");
  const Json prefix = json.value("data_prefix", Json::object());
  const auto known = kDatasets.find(type);
  const std::string img =
      json.value("img_suffix", known != kDatasets.end() ? known->second.img_suffix : ".jpg");
  const std::string seg = json.value(
      "seg_map_suffix", known != kDatasets.end() ? known->second.seg_map_suffix : ".png");
  if (known == kDatasets.end() && type != "BaseSegDataset") {
    c.lose(path + ".type", type + " may do more than read folders; suffixes are guessed");
  }
  reduce_zero_label =
      reduce_zero_label || (known != kDatasets.end() && known->second.reduce_zero_label);
  reduce_zero_label = json.value("reduce_zero_label", reduce_zero_label);
  std::string root = json.value("data_root", "");
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  if (!root.empty()) {
    const Value* shared = c.vars.find("data_root");
    if (shared == nullptr) shared = &c.vars.set("data_root", text_value(root));
    if (*shared->as_string() == root) root = "${vars.data_root}";
    root += '/';
  }
  Table table;
  if (c.change) {
    Table targets, folder;
    table.set("type", text_value("ChangeFolder"));
    table.set("data_root", text_value(root.empty() ? "." : root.substr(0, root.size() - 1)));
    table.set("image_dirs", Value{Array{text_value(prefix.value("img_path_from", "A")),
                                        text_value(prefix.value("img_path_to", "B"))}});
    folder.set("folder", text_value(prefix.value("seg_map_path", "label")));
    targets.set(target(c), Value{std::move(folder)});
    table.set("targets", Value{std::move(targets)});
  } else {
    table.set("type", text_value("SegmentationFolder"));
    table.set("image_dir", text_value(root + prefix.value("img_path", "")));
    table.set("label_dir", text_value(root + prefix.value("seg_map_path", "")));
  }
  table.set("img_suffix", text_value(img));
  table.set("seg_map_suffix", text_value(seg));
  if (reduce_zero_label && !c.change) table.set("reduce_zero_label", Value{true});
  if (const std::string file = json.value("ann_file", ""); !file.empty()) {
    table.set("ann_file", text_value(root + file));
  }
  const std::set<std::string> done = {
      "type",       "data_root",      "data_prefix",       "pipeline", "metainfo",
      "img_suffix", "seg_map_suffix", "reduce_zero_label", "ann_file", "indices"};
  for (const auto& [key, value] : json.items()) {
    if (done.count(key) == 0 && !value.is_null()) c.lose(path + "." + key, "no such key here");
  }
  return table;
}

/// mmengine's `indices`: the first N samples, or these.
Table part_of_dataset(Table dataset, const Json& indices) {
  Table table;
  table.set("type", text_value("SubsetDataset"));
  table.set(indices.is_array() ? "indices" : "first", value_of(indices));
  table.set("dataset", Value{std::move(dataset)});
  return table;
}

std::optional<Source> dataset(Conversion& c, const Json& json, const std::string& path);

std::optional<Source> joined_datasets(Conversion& c, const Json& json, const std::string& path) {
  Array parts;
  std::optional<Source> first;
  const Json list = json.value("datasets", Json::array());
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = path + ".datasets." + std::to_string(i);
    std::optional<Source> one = dataset(c, list[i], at);
    if (!one) continue;
    parts.push_back(Value{one->dataset});
    if (first && !(Value{one->transforms} == Value{first->transforms})) {
      c.lose(at + ".pipeline", "the transforms of a split are the same for all of its data sets");
    }
    if (!first) first = std::move(one);
  }
  if (!first) return std::nullopt;
  if (parts.size() > 1) {
    first->dataset = Table();
    first->dataset.set("type", text_value("ConcatDataset"));
    first->dataset.set("datasets", Value{std::move(parts)});
  }
  return first;
}

std::optional<Source> dataset(Conversion& c, const Json& json, const std::string& path) {
  const std::string type = json.value("type", "");
  if (type == "ConcatDataset") return joined_datasets(c, json, path);
  if (type == "RepeatDataset" || type == "MultiImageMixDataset") {
    std::optional<Source> source = dataset(c, json.at("dataset"), path + ".dataset");
    if (!source) return std::nullopt;
    if (type == "MultiImageMixDataset") {
      bool unused = false;
      for (Value& one :
           pipeline(c, json.value("pipeline", Json::array()), path + ".pipeline", unused)) {
        source->transforms.push_back(std::move(one));
      }
    } else if (c.epochs) {  // it says what an epoch is
      Table repeated;
      repeated.set("type", text_value(type));
      repeated.set("times", value_of(json.value("times", Json(1))));
      repeated.set("dataset", Value{std::move(source->dataset)});
      source->dataset = std::move(repeated);
    } else {
      c.drop(path, "training draws without end");
    }
    return source;
  }
  if (!json.contains("data_prefix")) {
    c.lose(path, "only data sets of folders are converted, this is " +
                     (type.empty() ? "without a type" : type));
    return std::nullopt;
  }
  bool reduce_zero_label = false;
  Source source;
  source.transforms =
      pipeline(c, json.value("pipeline", Json::array()), path + ".pipeline", reduce_zero_label);
  source.dataset = folder_dataset(c, json, path, reduce_zero_label);
  if (const Json indices = json.value("indices", Json()); !indices.is_null()) {
    source.dataset = part_of_dataset(std::move(source.dataset), indices);
  }
  return source;
}

// ---- splits

/// DefaultSampler draws every sample once an epoch, as InfiniteSampler does for good.
void sampler(Conversion& c, Table& split, const Json& json, bool training,
             const std::string& path) {
  if (!json.is_object()) return;
  std::string type = json.value("type", "");
  if (!training) return c.drop(path, "here every sample comes once, in order");
  if (type == "DefaultSampler") type = "InfiniteSampler";
  std::optional<Table> table =
      c.component("sampler", type, json, path,
                  [&](Table& own, const Schema&, const std::string& key, const Json& value) {
                    if (key == "shuffle" && value == false) own.set(key, Value{false});
                    return key == "shuffle" || key == "seed" || key == "round_up";
                  });
  // Shuffled passes are what there is without a sampler.
  const bool is_default = table && type == "InfiniteSampler" && table->size() == 1;
  if (table && !is_default) split.set("sampler", Value{std::move(*table)});
}

std::optional<Table> split(Conversion& c, const Json& json, const std::string& path) {
  if (!json.contains("dataset")) return std::nullopt;
  const bool training = path == "train_dataloader";
  std::optional<Source> source = dataset(c, json["dataset"], path + ".dataset");
  if (!source) return std::nullopt;
  Table table;
  if (json.contains("batch_size")) table.set("batch_size", value_of(json["batch_size"]));
  if (json.contains("num_workers")) table.set("workers", value_of(json["num_workers"]));
  for (const auto& [key, value] : json.items()) {
    if (key == "sampler") {
      sampler(c, table, value, training, path + "." + key);
    } else if (key != "batch_size" && key != "num_workers" && key != "dataset") {
      c.drop(path + "." + key, "loader threads are threads; training draws without end");
    }
  }
  table.set("dataset", Value{std::move(source->dataset)});
  if (!source->transforms.empty()) table.set("transforms", Value{std::move(source->transforms)});
  return table;
}

}  // namespace

Table convert_data(Conversion& c) {
  Table table, labels;
  labels.set(target(c), Value{label(c)});
  table.set("labels", Value{std::move(labels)});
  for (const auto& [key, name] : {std::pair{"train_dataloader", "train"},
                                  {"val_dataloader", "val"},
                                  {"test_dataloader", "test"}}) {
    const Json& json = c.part(key);
    if (!json.is_object()) continue;
    if (auto one = split(c, json, key)) table.set(name, Value{*one});
  }
  return table;
}

}  // namespace strata::tools::convert
