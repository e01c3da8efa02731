// What several transforms share: fields, checks of options, and how a change of light or colour
// goes over the dates.
#pragma once

#include <string>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/config/schema.hpp"
#include "framework/data/pixels.hpp"
#include "framework/data/sample.hpp"
#include "framework/data/transform.hpp"

namespace strata::data {

template <class Options>
auto prob_field(double Options::*member) {
  return config::field("prob", member, "probability of acting").at_least(0).at_most(1);
}

/// For what acts on the pictures of each date by themselves.
template <class Options>
auto shared_field(bool Options::*member) {
  return config::field("shared", member,
                       "the same change for every date; otherwise each has its own");
}

template <class Options>
auto pad_value_field(std::vector<double> Options::*member) {
  return config::field("pad_val", member,
                       "value of padded pixels, one or one a channel; labels get ignore_index")
      .at_least(0)
      .at_most(255)
      .one_or_many()
      .not_empty();
}

template <class Options>
auto interpolation_field(std::string Options::*member) {
  return config::field("interpolation", member, "of images; labels take the nearest pixel")
      .one_of({"bilinear", "nearest", "bicubic", "area"});
}

template <class Number>
void check_range(const std::string& key, const std::vector<Number>& range) {
  if (range[0] > range[1]) throw OptionError(key, "its lower end is above its upper end");
}

/// `limit` alone stands for [-limit, limit]; `from` is the lower end instead of -limit.
inline std::vector<double> range_of(const std::string& key, const std::vector<double>& written,
                                    std::optional<double> from = std::nullopt) {
  std::vector<double> range = written;
  if (range.size() == 1) range = {from.value_or(-written[0]), written[0]};
  if (range.size() != 2) throw OptionError(key, "takes one number or [lowest, highest]");
  check_range(key, range);
  return range;
}

/// Throws unless `value` is one for all channels or one for each of those of every image.
inline void check_fill(const Sample& sample, const std::vector<double>& value) {
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    if (value.size() == 1 || static_cast<std::int64_t>(value.size()) == sample.images[i].size(2)) {
      continue;
    }
    throw DataError(sample.meta.paths[i] + ": has " + std::to_string(sample.images[i].size(2)) +
                    " channels, but pad_val has " + std::to_string(value.size()) +
                    " values; give one, or one a channel");
  }
}

/// Throws unless date `date` is an 8-bit picture, with three channels if it must be `rgb`.
inline void check_bytes(const Sample& sample, std::size_t date, const char* transform, bool rgb) {
  const at::Tensor& image = sample.images[date];
  const bool bytes = image.scalar_type() == at::kByte;
  if (bytes && (!rgb || image.size(2) == 3)) return;
  throw DataError(sample.meta.paths[date] + ": " + transform + " changes 8-bit " +
                  (rgb ? "RGB pictures" : "pictures") + ", got " + std::to_string(image.size(2)) +
                  " channels" + (bytes ? "" : " of more than 8 bits") +
                  "; take it out of the transforms");
}

/// Draws once for all dates if `shared`, else for each: `images[i] = change(images[i], i, drawn)`.
template <class Draw, class Change>
void change_dates(Sample& sample, bool shared, const Draw& draw, const Change& change) {
  auto drawn = draw();
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    if (i > 0 && !shared) drawn = draw();
    sample.images[i] = change(sample.images[i], i, drawn);
  }
}

/// Resizes every date and target, and the valid area with them: settle() does it, or the crop that
/// comes next.
void plan_resize(Sample& sample, std::int64_t height, std::int64_t width,
                 const std::string& interpolation);
/// … at once.
void resize_sample(Sample& sample, std::int64_t height, std::int64_t width,
                   const std::string& interpolation);
/// Cuts the same window out of every date and target; does what decoding and resizing was put off,
/// of the window alone.
void crop_sample(Sample& sample, std::int64_t top, std::int64_t left, std::int64_t height,
                 std::int64_t width);
/// Pads below and to the right; labels get their ignore_index. The valid area stays what it was.
void pad_sample(Sample& sample, std::int64_t height, std::int64_t width,
                const std::vector<double>& value);
/// After a flip or a turn, padding is no longer below and to the right: it counts as picture.
void whole_area_valid(Sample& sample);

struct PixelSize {
  std::int64_t height, width;
};
/// MMCV's rule: as large as fits both the longer and the shorter side of the wanted size, whichever
/// way the picture lies.
PixelSize keep_ratio_size(std::int64_t from_height, std::int64_t from_width, double height,
                          double width);

}  // namespace strata::data
