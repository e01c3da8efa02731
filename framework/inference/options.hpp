// What a config says about serving a model: `[evaluate.inference]` and `[evaluate.tta]`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/config/byte_size.hpp"
#include "framework/config/schema.hpp"

namespace strata {

/// `[evaluate.inference]`: pictures whole, or in windows that slide over them.
struct STRATA_API InferenceOptions {
  std::string mode = "whole";
  std::optional<std::vector<std::int64_t>> crop_size;
  std::optional<std::vector<std::int64_t>> stride;
  std::string window_weights = "constant";
  std::int64_t window_batch = 4;
  ByteSize memory{"768 MiB", std::int64_t{768} << 20};

  static auto fields() {
    using config::field;
    using O = InferenceOptions;
    return std::tuple{
        field("mode", &O::mode, "\"whole\": a picture at once; \"slide\": windows of crop_size")
            .one_of({"whole", "slide"}),
        field("crop_size", &O::crop_size,
              "[height, width] of a window; a smaller picture is one window")
            .size(2)
            .at_least(1),
        field("stride", &O::stride,
              "[down, right] from window to window; left out: two thirds of crop_size")
            .size(2)
            .at_least(1),
        field(
            "window_weights", &O::window_weights,
            "where windows overlap: \"constant\": the mean, as mmseg; \"gaussian\": the middle of "
            "a window counts more; \"center\": each pixel from the window in which it lies deepest")
            .one_of({"constant", "gaussian", "center"}),
        field("window_batch", &O::window_batch,
              "windows, or views of a picture, that are computed at once")
            .at_least(1),
        field("memory", &O::memory,
              "of a raster that is predicted in strips: what the results of its windows may take; "
              "what needs more is computed in panels side by side. \"0\": no limit")};
  }

  bool slides() const { return mode == "slide"; }
  /// stride, or its default.
  std::vector<std::int64_t> step() const;
  /// Throws OptionError: a window without size, a stride that leaves gaps.
  void check() const;
};

/// `[evaluate.tta]`: views of a picture whose results are merged.
struct STRATA_API TtaOptions {
  bool enabled = false;
  std::vector<std::string> views = {"identity", "horizontal"};
  std::vector<double> scales = {1.0};
  bool exchange_dates = false;

  static auto fields() {
    using config::field;
    using O = TtaOptions;
    return std::tuple{
        field("enabled", &O::enabled,
              "also without --tta: in validation while training, in test and predict"),
        field("views", &O::views, "flips and turns (counter-clockwise) of the picture")
            .not_empty()
            .one_of({"identity", "horizontal", "vertical", "rot90", "rot180", "rot270", "transpose",
                     "antitranspose"}),
        field("scales", &O::scales, "sizes of the picture, each with every view")
            .not_empty()
            .above(0)
            .at_most(16),
        field("exchange_dates", &O::exchange_dates,
              "each view also with the dates in reverse order, its results put back")};
  }

  /// Throws OptionError for a view or scale written twice and for dates that a model lacks.
  void check(std::int64_t dates) const;
};

}  // namespace strata
