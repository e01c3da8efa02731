#include "framework/data/labels.hpp"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "framework/base/crc32c.hpp"
#include "framework/base/error.hpp"
#include "framework/base/log.hpp"
#include "framework/data/rows.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

namespace {

constexpr std::uint8_t kBinaryThreshold = 128;  // as Open-CD's to_binary

std::string declared(const LabelSpec& spec) {
  return std::to_string(spec.num_classes()) + " classes (0 to " +
         std::to_string(spec.num_classes() - 1) + ") and " + std::to_string(spec.ignore_index) +
         " (ignored)";
}

// The class of each value of a file, by name; ignore_index for what the label does not declare.
std::map<int, int> by_name(const LabelOptions& options, const LabelSpec& spec) {
  if (!options.label_map.empty()) {
    throw OptionError("file_classes", "does not go with label_map; set one of them");
  }
  if (options.label_format == "binary" || options.label_format == "palette") {
    throw OptionError("file_classes",
                      "does not go with label_format = \"" + options.label_format + "\"");
  }
  std::map<int, int> renamed;
  const auto& names = options.file_classes;
  if (names.size() > 256) throw OptionError("file_classes", "a file holds 256 values at most");
  for (std::size_t v = 0; v < names.size(); ++v) {
    const auto found = std::find(spec.classes.begin(), spec.classes.end(), names[v]);
    renamed[static_cast<int>(v)] = found == spec.classes.end()
                                       ? static_cast<int>(spec.ignore_index)
                                       : static_cast<int>(found - spec.classes.begin());
  }
  for (const std::string& name : spec.classes) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw OptionError("file_classes",
                      "does not hold class \"" + name + "\" of label \"" + spec.name + "\"");
  }
  return renamed;
}

/// Values of any type as bytes, which is what the values of a label are.
at::Tensor as_bytes(const std::string& path, const at::Tensor& values) {
  if (values.scalar_type() == at::kByte) return values;
  const at::Tensor bytes = values.clamp(0, 255).to(at::kByte);
  const at::Tensor wrong = bytes.to(values.scalar_type()).ne(values);
  if (const auto count = wrong.sum().item<std::int64_t>(); count > 0) {
    const double first = values.masked_select(wrong)[0].item<double>();
    throw DataError(fmt::format(
        "{}: label holds value {:g} ({} of {} pixels), expected whole numbers from 0 to 255; set "
        "data.label_reader.nodata if it means that there is no label",
        path, first, count, values.numel()));
  }
  return bytes;
}

}  // namespace

LabelReader::LabelReader(LabelOptions options, const LabelSpec& spec,
                         const std::vector<std::string>& files,
                         std::shared_ptr<const Reader> reader)
    : options_(std::move(options)), spec_(&spec), reader_(std::move(reader)) {
  if (options_.label_format == "binary" && spec.num_classes() != 2) {
    throw OptionError("label_format", "\"binary\" needs a label of 2 classes, \"" + spec.name +
                                          "\" has " + std::to_string(spec.num_classes()));
  }
  if (options_.label_format == "binary" && options_.reduce_zero_label) {
    throw OptionError("reduce_zero_label", "does not go with label_format = \"binary\"");
  }
  if (options_.label_format == "palette" && options_.band > 0) {
    throw OptionError("band", "does not go with label_format = \"palette\"");
  }
  if (options_.label_format == "auto") {
    const bool plain =
        !options_.reduce_zero_label && options_.label_map.empty() && options_.file_classes.empty();
    detected_binary_ = plain && holds_0_and_255(files);
    options_.label_format = detected_binary_ ? "binary" : "index";
  }

  const auto ignore = static_cast<int>(spec.ignore_index);
  std::array<int, 256> value{};
  for (int v = 0; v < 256; ++v) {
    int now = v;
    if (options_.label_format == "binary") now = v >= kBinaryThreshold ? 1 : 0;
    if (options_.reduce_zero_label) now = v == 0 || v == ignore ? ignore : v - 1;
    value[static_cast<std::size_t>(v)] = now;
  }
  std::map<int, int> renamed;
  if (!options_.file_classes.empty()) renamed = by_name(options_, spec);
  for (const auto& [key, to] : options_.label_map) {
    int from = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), from);
    if (error != std::errc() || end != key.data() + key.size() || from < 0 || from > 255) {
      throw OptionError("label_map." + key, "expected a stored value from 0 to 255");
    }
    if (to != ignore && (to < 0 || to >= spec.num_classes())) {
      throw OptionError("label_map." + key,
                        "label \"" + spec.name + "\" has " + declared(spec) + " only");
    }
    renamed[from] = static_cast<int>(to);
  }
  for (std::size_t v = 0; v < 256; ++v) {
    const auto rename = renamed.find(value[v]);
    const int now = rename == renamed.end() ? value[v] : rename->second;
    table_[v] = static_cast<std::uint8_t>(now);
    valid_[v] = now == ignore || now < spec.num_classes();
    // In files that hold 0 and 255, a 1 is a class and 255 was meant as "ignored".
    if (detected_binary_ && v != 0 && v != 255) valid_[v] = false;
  }
  check_file_palette();
  plain_ = true;
  for (int v = 0; v < 256; ++v) {
    const auto place = static_cast<std::size_t>(v);
    const bool class_or_ignored = v < spec.num_classes() || v == ignore;
    if (class_or_ignored && (table_[place] != v || !valid_[place])) plain_ = false;
  }
}

// Whether two-class label files hold 0 and 255 rather than 0 and 1. A 255 in a file with 1 means
// "ignored" there, so one file alone does not tell: a few that are not all 0 are asked.
bool LabelReader::holds_0_and_255(const std::vector<std::string>& files) const {
  if (spec_->num_classes() != 2) return false;
  constexpr std::size_t kFiles = 16, kTelling = 4;
  std::size_t telling = 0;
  const std::size_t step = std::max<std::size_t>(1, files.size() / kFiles);
  for (std::size_t i = 0; i < files.size() && telling < kTelling; i += step) {
    const at::Tensor map = stored(files[i]).map;
    if (map.dim() != 2) return false;
    bool other = false, full = false;
    const auto* values = map.const_data_ptr<std::uint8_t>();
    for (std::int64_t k = 0; k < map.numel(); ++k) {
      full |= values[k] == 255;
      other |= values[k] != 0 && values[k] != 255;
    }
    if (other) return false;
    telling += full;
  }
  if (telling == 0) return false;
  log::info("label \"{}\": files hold 0 and 255, read as 0 and 1 (label_format = \"binary\")",
            spec_->name);
  return true;
}

LabelReader::Stored LabelReader::stored(const std::string& path) const {
  at::Tensor values, missing;
  if (reader_) {
    const auto source = reader_->open(path);
    const std::int64_t height = source->height(), width = source->width();
    values = as_bytes(path, source->read(0, 0, height, width));
    missing = source->missing(0, 0, height, width);
    if (values.size(2) == 1) values = values.squeeze(2);
  } else {
    values = options_.label_format == "palette" ? io::read_image(path) : io::read_label(path);
  }
  // A picture whose bands are all equal comes as one.
  if (values.dim() == 2) return {values, missing};
  const std::int64_t bands = values.size(2);
  if (options_.band > bands) {
    throw DataError(fmt::format("{}: label has {} bands, band is {}", path, bands, options_.band));
  }
  if (options_.band > 0) return {values.select(2, options_.band - 1).contiguous(), missing};
  if (bands != 3) {
    throw DataError(fmt::format("{}: label has {} bands; choose one with band", path, bands));
  }
  return {values, missing};
}

at::Tensor LabelReader::read(const std::string& path) const {
  auto [map, missing] = stored(path);
  const bool coloured = options_.label_format == "palette";
  if (map.dim() == 2 && coloured) {
    throw DataError(path + ": label has one band, expected a picture in colours; set label_format");
  }
  if (map.dim() == 3 && !coloured) {
    throw DataError(path +
                    ": label is a picture in colours, expected class indices; set "
                    "label_format = \"palette\" and data.labels." +
                    spec_->name + ".palette, or band where each band is a label of its own");
  }
  if (coloured) {
    map = from_colours(path, map);
  } else {
    apply_table(path, map);
  }
  if (missing.defined()) map.masked_fill_(missing, spec_->ignore_index);
  return map;
}

std::uint32_t LabelReader::fingerprint() const {
  std::uint32_t crc = crc32c(table_.data(), table_.size());
  crc = crc32c(options_.label_format.data(), options_.label_format.size(), crc);
  crc = crc32c(&options_.band, sizeof(options_.band), crc);
  for (const auto& colour : palette()) {
    crc = crc32c(colour.data(), colour.size() * sizeof(colour[0]), crc);
  }
  return crc;
}

void LabelReader::apply_table(const std::string& path, const at::Tensor& map) const {
  auto* values = map.mutable_data_ptr<std::uint8_t>();
  const std::int64_t count = map.numel();
  const auto classes = static_cast<std::uint8_t>(std::min<std::int64_t>(spec_->num_classes(), 255));
  const auto ignore = static_cast<std::uint8_t>(spec_->ignore_index);
  if (plain_ && all_below_or(values, count, classes, ignore)) return;
  std::array<bool, 256> seen{};
  for (std::int64_t i = 0; i < count; ++i) seen[values[i]] = true;
  std::vector<std::size_t> wrong;
  bool change = false;
  for (std::size_t v = 0; v < 256; ++v) {
    if (!seen[v]) continue;
    if (!valid_[v]) wrong.push_back(v);
    change |= table_[v] != v;
  }
  if (!wrong.empty()) {
    const std::int64_t hits = std::count(values, values + count, wrong[0]);
    const std::string what =
        path + ": label \"" + spec_->name + "\" holds value " + std::to_string(wrong[0]) + " (" +
        std::to_string(hits) + " of " + std::to_string(count) + " pixels)" +
        (wrong.size() == 1 ? ""
                           : " and " + std::to_string(wrong.size() - 1) + " more wrong values");
    if (detected_binary_) {
      throw DataError(what + ", other files hold 0 and 255 only; set label_format = \"index\"");
    }
    throw DataError(what + ", declared are " + declared(*spec_) +
                    (spec_->num_classes() == 2
                         ? "; mend the file, set label_map, or label_format = \"binary\" when "
                           "values from 128 on mean class 1"
                         : "; mend the file or set label_map"));
  }
  if (!change) return;
  for (std::int64_t i = 0; i < count; ++i) values[i] = table_[values[i]];
}

const Palette& LabelReader::palette() const {
  return options_.file_palette.empty() ? spec_->palette : options_.file_palette;
}

void LabelReader::check_file_palette() const {
  const Palette& colours = options_.file_palette;
  if (colours.empty()) return;
  if (options_.label_format != "palette") {
    throw OptionError("file_palette", "needs label_format = \"palette\"");
  }
  check_palette("file_palette", colours);
  for (std::size_t v = 0; v < colours.size(); ++v) {
    if (v < valid_.size() && valid_[v]) continue;
    throw OptionError(
        "file_palette",
        fmt::format(
            "has {} colours, label \"{}\" has {}; say what value {} is with reduce_zero_label "
            "or label_map",
            colours.size(), spec_->name, declared(*spec_), v));
  }
}

at::Tensor LabelReader::from_colours(const std::string& path, const at::Tensor& colours) const {
  std::map<std::int32_t, int> classes;
  const Palette& colours_of = palette();
  for (std::size_t k = colours_of.size(); k-- > 0;) {  // the first of equal colours wins
    const auto& c = colours_of[k];
    classes[static_cast<std::int32_t>(c[0] << 16 | c[1] << 8 | c[2])] = static_cast<int>(k);
  }
  at::Tensor map = at::empty({colours.size(0), colours.size(1)}, at::kByte);
  const auto* in = colours.const_data_ptr<std::uint8_t>();
  auto* out = map.mutable_data_ptr<std::uint8_t>();
  std::int32_t last = -1;
  std::uint8_t value = 0;
  std::int64_t wrong = 0;
  std::int32_t wrong_colour = -1;
  for (std::int64_t i = 0; i < map.numel(); ++i, in += 3) {
    const std::int32_t colour = in[0] << 16 | in[1] << 8 | in[2];
    if (colour != last) {
      last = colour;
      const auto found = classes.find(colour);
      value = found == classes.end() ? 0 : table_[static_cast<std::size_t>(found->second)];
      if (found == classes.end() && wrong_colour < 0) wrong_colour = colour;
    }
    wrong += colour == wrong_colour;
    out[i] = value;
  }
  if (wrong > 0) {
    throw DataError(path + ": label \"" + spec_->name + "\" holds colour [" +
                    std::to_string(wrong_colour >> 16) + ", " +
                    std::to_string(wrong_colour >> 8 & 255) + ", " +
                    std::to_string(wrong_colour & 255) + "] (" + std::to_string(wrong) + " of " +
                    std::to_string(map.numel()) + " pixels), which " +
                    (options_.file_palette.empty() ? "data.labels." + spec_->name + ".palette"
                                                   : "file_palette") +
                    " does not hold");
  }
  return map;
}

}  // namespace strata::data
