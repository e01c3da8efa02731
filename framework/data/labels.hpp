// From the values stored in a label file to class indices.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"
#include "framework/io/raster.hpp"
#include "framework/model/palette.hpp"
#include "framework/model/spec.hpp"

namespace strata::data {

/// How the label files of one target are read.
struct LabelOptions {
  std::string label_format = "auto";
  bool reduce_zero_label = false;
  config::Named<std::int64_t> label_map;
  std::vector<std::string> file_classes;
  Palette file_palette;
  std::int64_t band = 0;

  static auto fields() {
    using O = LabelOptions;
    using config::field;
    return std::tuple{
        field("label_format", &O::label_format,
              "what label files hold: \"index\" (class indices), \"binary\" (two classes, values "
              "from 128 on are class 1), \"palette\" (the colours of data.labels.NAME.palette); "
              "\"auto\" is \"binary\" for a label of two classes whose files hold 0 and 255, else "
              "\"index\"")
            .one_of({"auto", "index", "binary", "palette"}),
        field("reduce_zero_label", &O::reduce_zero_label,
              "value 0 becomes ignore_index and the others count down by one"),
        field("label_map", &O::label_map,
              "new value of stored values, after reduce_zero_label: {7 = 0, 8 = 1}; others stay"),
        field("file_classes", &O::file_classes,
              "instead of label_map: names of the values 0, 1, … in the files (after "
              "reduce_zero_label) when data.labels.NAME.classes is a part of them or has another "
              "order; the rest becomes ignore_index"),
        field(
            "file_palette", &O::file_palette,
            "colours of the values 0, 1, … in files with label_format = \"palette\", when they are "
            "not data.labels.NAME.palette: with a colour for \"nothing\" in front and "
            "reduce_zero_label, for instance"),
        field("band", &O::band,
              "the band that holds this label, from 1 on, where a file's bands are labels of their "
              "own; 0: files hold this one")
            .at_least(0)};
  }
};

/// Reads the label files of one target. Thread-safe.
class STRATA_API LabelReader {
 public:
  /// `files`: all label files of the data set, from which "auto" looks into a few. `reader` opens
  /// them (null: io::read_label); pixels of which it says that they hold nothing are ignored.
  /// Throws OptionError for options that do not fit the label.
  LabelReader(LabelOptions options, const LabelSpec& spec, const std::vector<std::string>& files,
              std::shared_ptr<const Reader> reader = nullptr);

  /// [H, W] uint8 with class indices and spec.ignore_index. Throws DataError naming the file, the
  /// value, how often it stands there and what is declared.
  at::Tensor read(const std::string& path) const;
  /// Differs where the same file would be read as other classes.
  std::uint32_t fingerprint() const;

 private:
  /// What stands in a file, and where nothing does (undefined: everywhere something).
  struct Stored {
    at::Tensor map;  // [H, W] uint8, or [H, W, 3] of a picture in colours
    at::Tensor missing;
  };
  Stored stored(const std::string& path) const;
  bool holds_0_and_255(const std::vector<std::string>& files) const;
  void apply_table(const std::string& path, const at::Tensor& map) const;
  at::Tensor from_colours(const std::string& path, const at::Tensor& colours) const;
  const Palette& palette() const;  // of the files
  void check_file_palette() const;

  LabelOptions options_;
  const LabelSpec* spec_;
  std::shared_ptr<const Reader> reader_;
  bool detected_binary_ = false;           // by "auto"
  std::array<std::uint8_t, 256> table_{};  // stored value -> class
  std::array<bool, 256> valid_{};          // whether that is a class or ignore_index
  bool plain_ = false;                     // classes are stored as they are
};

}  // namespace strata::data
