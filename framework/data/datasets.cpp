// Data sets in folders: images with label maps (SegmentationFolder), and several dates of one
// place with theirs (ChangeFolder).
#include <sys/stat.h>

#include <functional>
#include <memory>

#include "framework/base/error.hpp"
#include "framework/data/dataset.hpp"
#include "framework/data/implied.hpp"
#include "framework/data/labels.hpp"
#include "framework/data/listing.hpp"
#include "framework/data/transform.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

namespace {

/// What one target's files are and how they are read; a bare string is the folder.
struct TargetOptions : LabelOptions {
  static constexpr const char* shorthand = "folder";
  std::string folder;
  std::string suffix;
  std::string implied;
  bool changed_only = false;

  static auto fields() {
    using config::field;
    return config::join(
        LabelOptions::fields(),
        field(
            "folder", &TargetOptions::folder,
            "folder of the label files, inside data_root; none for a change label that is implied"),
        field("suffix", &TargetOptions::suffix,
              "end of the label file names; \"\": the dataset's seg_map_suffix"),
        field("implied", &TargetOptions::implied,
              "a change label without files, from the semantic labels of both dates: \"differs\", "
              "changed where their classes differ; \"labelled\" (SECOND), changed where either "
              "holds a class")
            .one_of({"", "differs", "labelled"}),
        field("changed_only", &TargetOptions::changed_only,
              "a semantic label is ignored where the change label says unchanged (what SECOND "
              "gives)"));
  }
};

std::string size_text(std::int64_t height, std::int64_t width) {
  return std::to_string(height) + " x " + std::to_string(width);
}

/// Listing, reading and checking that both data sets share.
class FolderDataset : public Dataset {
 public:
  std::int64_t size() const override { return static_cast<std::int64_t>(samples_.size()); }
  std::string name(std::int64_t index) const override { return at(index).name; }

  Sample read(std::int64_t index) const override {
    Sample sample = open(index);
    settle(sample);
    return sample;
  }

  Sample open(std::int64_t index) const override {
    const ListedSample& listed = at(index);
    Sample sample;
    sample.meta.name = listed.name;
    if (!tags_.empty()) sample.meta.tags = tags_[static_cast<std::size_t>(index)];
    at::Tensor missing;  // at one date or another
    for (std::size_t i = 0; i < dates_; ++i) {
      const std::string& file = listed.files[i];
      if (reader_->marks_missing()) {
        const auto source = reader_->open(file);
        const std::int64_t height = source->height(), width = source->width();
        sample.put_off.files.emplace_back(source->read(0, 0, height, width));
        if (const at::Tensor here = source->missing(0, 0, height, width); here.defined()) {
          missing = missing.defined() ? missing.logical_or(here) : here;
        }
      } else {
        sample.put_off.files.push_back(reader_->picture(file));
      }
      sample.meta.paths.push_back(file);
      const io::LazyImage& image = sample.put_off.files.back();
      check_size(sample, file, image.height(), image.width(), "image");
    }
    sample.targets = stored_targets(index);
    for (std::size_t i = 0; i < labels_of_.size(); ++i) {
      const at::Tensor& map = sample.targets.at(labels_of_[i].first->name).map;
      check_size(sample, listed.files[dates_ + i], map.size(0), map.size(1), "label");
    }
    if (imply_) imply_(sample.targets);
    for (auto& [name, target] : sample.targets) {
      if (missing.defined()) target.map.masked_fill_(missing, target.spec->ignore_index);
    }
    sample.meta.height = sample.meta.original_height = sample.height();
    sample.meta.width = sample.meta.original_width = sample.width();
    return sample;
  }

  std::map<std::string, SampleTarget> read_targets(std::int64_t index) const override {
    return reader_->marks_missing() || imply_ ? open(index).targets : stored_targets(index);
  }

  std::string target_state(std::int64_t index) const override {
    std::string state = implied_;
    // An image of which parts hold nothing has a say in its labels.
    for (std::size_t i = reader_->marks_missing() ? 0 : dates_; i < at(index).files.size(); ++i) {
      const std::string& file = at(index).files[i];
      struct stat status {};
      if (::stat(file.c_str(), &status) != 0) return "";
      state += file + " " + std::to_string(status.st_size) + " " +
               std::to_string(status.st_mtim.tv_sec) + "." + std::to_string(status.st_mtim.tv_nsec);
      if (i >= dates_) state += " " + std::to_string(labels_of_[i - dates_].second.fingerprint());
      state += "\n";
    }
    return state;
  }

 protected:
  struct Column {
    const LabelSpec* spec;
    LabelOptions options;
    std::string key;  // of the options in the config, for errors
  };

  explicit FolderDataset(const Context& context)
      : labels_(context.labels),
        reader_(context.reader),
        label_reader_(context.label_reader),
        scene_tags_(context.tags) {}

  void open(std::vector<FileColumn> files, const Listing& listing, std::size_t dates,
            const std::vector<Column>& targets, const std::string& color_type) {
    dates_ = dates;
    if (color_type != "auto") {
      reader_ =
          io::image_reader(color_type == "color" ? io::Channels::rgb : io::Channels::as_stored);
    }
    if (!reader_) reader_ = io::image_reader(io::Channels::rgb);
    for (std::size_t i = 0; i < files.size(); ++i) {
      const Reader* reader = i < dates ? reader_.get() : label_reader_.get();
      if (reader != nullptr) files[i].endings = reader->suffixes();
    }
    samples_ = list_samples(files, listing);
    for (const ListedSample& sample : samples_) {
      if (!scene_tags_) break;
      tags_.push_back(scene_tags_->of(
          {sample.files.begin(), sample.files.begin() + static_cast<std::ptrdiff_t>(dates)}));
    }
    for (std::size_t i = 0; i < targets.size(); ++i) {
      std::vector<std::string> maps;
      for (const ListedSample& sample : samples_) maps.push_back(sample.files[dates + i]);
      try {
        labels_of_.emplace_back(targets[i].spec, LabelReader(targets[i].options, *targets[i].spec,
                                                             maps, label_reader_));
      } catch (const OptionError& error) {
        if (targets[i].key.empty()) throw;
        throw OptionError(targets[i].key + "." + error.key(), error.what());
      }
    }
  }

  using Targets = std::map<std::string, SampleTarget>;

  LabelSpecs labels_;                    // samples point into it
  std::function<void(Targets&)> imply_;  // what the targets say of one another, null: nothing
  std::string implied_;                  // differs where imply_ does

 private:
  const ListedSample& at(std::int64_t index) const {
    return samples_.at(static_cast<std::size_t>(index));
  }

  std::map<std::string, SampleTarget> stored_targets(std::int64_t index) const {
    std::map<std::string, SampleTarget> targets;
    for (std::size_t i = 0; i < labels_of_.size(); ++i) {
      const LabelSpec* spec = labels_of_[i].first;
      targets[spec->name] = {labels_of_[i].second.read(at(index).files[dates_ + i]), spec};
    }
    return targets;
  }

  static void check_size(const Sample& sample, const std::string& file, std::int64_t height,
                         std::int64_t width, const char* what) {
    if (height == sample.height() && width == sample.width()) return;
    throw DataError(file + ": " + what + " is " + size_text(height, width) +
                    " pixels (height x width), but " + sample.meta.paths.front() + " is " +
                    size_text(sample.height(), sample.width()) + "; resample one to the other");
  }

  std::size_t dates_ = 1;
  std::shared_ptr<const Reader> reader_, label_reader_;
  std::shared_ptr<const SceneTags> scene_tags_;
  std::vector<ListedSample> samples_;
  std::vector<std::vector<std::vector<std::string>>> tags_;  // of each sample; none when unknown
  std::vector<std::pair<const LabelSpec*, LabelReader>> labels_of_;
};

constexpr const char* kImageSuffixDoc =
    "end of the image file names (\"_leftImg8bit.png\"), not part of a sample's name; \"\": any "
    "picture";
constexpr const char* kLabelSuffixDoc =
    "end of the label file names (\"_gtFine_labelTrainIds.png\"); \"\": any picture";
constexpr const char* kListDoc =
    "list file with a line a sample: its name, or the paths (from the list file's folder, else "
    "from data_root where there is one) of its images and labels; left out: all files";
constexpr const char* kListFormatDoc =
    "what separates the paths of a line: \"blanks\", or, when names hold blanks, \"two_spaces\" or "
    "\"tabs\"; \"auto\": tabs where there are any, two spaces where these give enough paths, else "
    "blanks";
constexpr const char* kSkipDoc = "leave out files without a partner instead of stopping";
constexpr const char* kColorDoc =
    "\"auto\": as data.reader gives them; instead of it \"color\": 8-bit RGB of a picture; "
    "\"unchanged\": its own channels, 16-bit values as float";

struct SegmentationFolderOptions : LabelOptions {
  config::Path image_dir;
  config::Path label_dir;
  std::string img_suffix;
  std::string seg_map_suffix;
  config::Path ann_file;
  std::string list_format = "auto";
  std::string target;
  std::string color_type = "auto";
  bool skip_unpaired = false;

  static auto fields() {
    using O = SegmentationFolderOptions;
    using config::field;
    return std::tuple_cat(
        std::tuple{
            field("image_dir", &O::image_dir, "folder of the images").required(),
            field("label_dir", &O::label_dir,
                  "folder of the label maps; not needed for prediction"),
            field("img_suffix", &O::img_suffix, kImageSuffixDoc),
            field("seg_map_suffix", &O::seg_map_suffix, kLabelSuffixDoc),
            field("ann_file", &O::ann_file, kListDoc),
            field("list_format", &O::list_format, kListFormatDoc)
                .one_of({"auto", "blanks", "two_spaces", "tabs"}),
            field("target", &O::target, "name of the label under data.labels; \"\": the first one"),
            field("color_type", &O::color_type, kColorDoc).one_of({"auto", "color", "unchanged"}),
            field("skip_unpaired", &O::skip_unpaired, kSkipDoc)},
        LabelOptions::fields());
  }
};

class SegmentationFolder final : public FolderDataset {
 public:
  SegmentationFolder(SegmentationFolderOptions options, const Context& context)
      : FolderDataset(context) {
    std::vector<FileColumn> files = {
        {"image", options.image_dir.resolved, "image_dir", options.img_suffix, "img_suffix"}};
    std::vector<Column> targets;
    if (context.with_labels) {
      if (options.label_dir.empty()) {
        throw OptionError("label_dir", "is missing; set it to the folder of the label maps");
      }
      files.push_back({"label", options.label_dir.resolved, "label_dir", options.seg_map_suffix,
                       "seg_map_suffix"});
      targets.push_back({&labels_.get(options.target), options, ""});
    }
    open(files, {options.ann_file.resolved, options.skip_unpaired, options.list_format}, 1, targets,
         options.color_type);
  }
  static std::int64_t dates_of(const SegmentationFolderOptions&) { return 1; }
};

struct ChangeFolderOptions {
  config::Path data_root;
  std::vector<std::string> image_dirs = {"A", "B"};
  config::Named<TargetOptions> targets;
  std::string img_suffix;
  std::string seg_map_suffix;
  config::Path ann_file;
  std::string list_format = "auto";
  std::string color_type = "auto";
  bool skip_unpaired = false;

  static auto fields() {
    using O = ChangeFolderOptions;
    using config::field;
    return std::tuple{
        field("data_root", &O::data_root, "folder that holds the others").required().alias("root"),
        field("image_dirs", &O::image_dirs, "folders of the images, one a date, inside data_root")
            .not_empty(),
        field("targets", &O::targets,
              "folder of the files of each label: {change = \"label\", semantic_a = {folder = "
              "\"label_a\", reduce_zero_label = true}}; empty: the folder \"label\" holds the "
              "change label, or the only one"),
        field("img_suffix", &O::img_suffix, kImageSuffixDoc),
        field("seg_map_suffix", &O::seg_map_suffix, kLabelSuffixDoc),
        field("ann_file", &O::ann_file, kListDoc),
        field("list_format", &O::list_format, kListFormatDoc)
            .one_of({"auto", "blanks", "two_spaces", "tabs"}),
        field("color_type", &O::color_type, kColorDoc).one_of({"auto", "color", "unchanged"}),
        field("skip_unpaired", &O::skip_unpaired, kSkipDoc)};
  }
};

class ChangeFolder final : public FolderDataset {
 public:
  ChangeFolder(ChangeFolderOptions options, const Context& context) : FolderDataset(context) {
    const std::string& root = options.data_root.resolved;
    std::vector<FileColumn> files;
    for (std::size_t i = 0; i < options.image_dirs.size(); ++i) {
      files.push_back({"image", join_path(root, options.image_dirs[i]), "image_dirs",
                       options.img_suffix, "img_suffix"});
    }
    std::vector<Column> targets;
    if (context.with_labels) {
      if (options.targets.empty()) options.targets = {{change_label(), label_folder()}};
      for (const auto& [name, target] : options.targets) {
        const LabelSpec& spec = find(name);
        if (!target.implied.empty()) continue;
        if (target.folder.empty()) {
          throw OptionError("targets." + name + ".folder", "is missing; set it, or implied");
        }
        files.push_back({"label", join_path(root, target.folder), "targets." + name,
                         target.suffix.empty() ? options.seg_map_suffix : target.suffix,
                         target.suffix.empty() ? "seg_map_suffix" : "targets." + name + ".suffix"});
        targets.push_back({&spec, target, "targets." + name});
      }
      set_implied(options.targets);
    }
    open(files, {options.ann_file.resolved, options.skip_unpaired, options.list_format, root},
         options.image_dirs.size(), targets, options.color_type);
  }
  static std::int64_t dates_of(const ChangeFolderOptions& options) {
    return static_cast<std::int64_t>(options.image_dirs.size());
  }

 private:
  std::string change_label() const {
    for (const LabelSpec& spec : labels_.all()) {
      if (spec.role == "change") return spec.name;
    }
    return labels_.get("").name;
  }
  static TargetOptions label_folder() {
    TargetOptions target;
    target.folder = "label";
    return target;
  }
  // Which labels follow from which: checked once, applied to each sample.
  void set_implied(const config::Named<TargetOptions>& targets) {
    const LabelSpec* change = nullptr;
    std::string rule;
    std::vector<std::string> semantic, reduced;
    for (const auto& [name, target] : targets) {
      const LabelSpec& spec = find(name);
      if (spec.role == "change" && change == nullptr) change = &spec, rule = target.implied;
      if (spec.role != "change") semantic.push_back(name);
      if (target.changed_only) reduced.push_back(name);
      if (!target.implied.empty() && (spec.role != "change" || spec.num_classes() != 2)) {
        throw OptionError("targets." + name + ".implied",
                          "needs a label of role \"change\" with 2 classes");
      }
      if (!target.implied.empty() && !target.folder.empty()) {
        throw OptionError("targets." + name + ".implied", "does not go with folder");
      }
      if (!target.implied.empty() && &spec != change) {
        throw OptionError("targets." + name + ".implied",
                          "is for the first change label, \"" + change->name + "\"");
      }
      if (target.changed_only && spec.role == "change") {
        throw OptionError("targets." + name + ".changed_only", "is for semantic labels");
      }
    }
    if (!rule.empty() && semantic.size() != 2) {
      throw OptionError("targets." + change->name + ".implied",
                        "needs two semantic labels, one a date, among targets, got " +
                            std::to_string(semantic.size()));
    }
    if (rule == "differs" && find(semantic[0]).classes != find(semantic[1]).classes) {
      throw OptionError("targets." + change->name + ".implied",
                        "\"differs\" needs the same classes at both dates");
    }
    if (!reduced.empty() && change == nullptr) {
      throw OptionError("targets." + reduced[0] + ".changed_only",
                        "needs a change label among targets");
    }
    if (rule.empty() && reduced.empty()) return;
    implied_ = rule;
    for (const std::string& name : reduced) implied_ += " " + name;
    imply_ = [change, rule, semantic, reduced](Targets& sample) {
      if (!rule.empty()) {
        sample[change->name] = {
            implied_change(rule, sample.at(semantic[0]), sample.at(semantic[1]), *change), change};
      }
      for (const std::string& name : reduced)
        keep_changed(sample.at(name), sample.at(change->name));
    };
  }
  const LabelSpec& find(const std::string& name) const {
    try {
      return labels_.get(name);
    } catch (const OptionError& error) {
      throw OptionError("targets." + name, error.what());
    }
  }
};

}  // namespace

}  // namespace strata::data

STRATA_COMPONENTS(framework_data_datasets) {
  using namespace strata::data;
  registry.add<strata::Dataset, SegmentationFolder, SegmentationFolderOptions>(
      "SegmentationFolder", "images and label maps in two folders, paired by name",
      {"BaseSegDataset"});
  registry.add<strata::Dataset, ChangeFolder, ChangeFolderOptions>(
      "ChangeFolder", "two or more dates of the same places and label maps, paired by name",
      {"BaseCDDataset", "TXTCDDataset", "TXTCDDatasetJSON"});
}
