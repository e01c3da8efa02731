// Windows that slide over a picture of any size.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "framework/inference/merge.hpp"
#include "framework/inference/options.hpp"

namespace strata::inference {

/// The pixels of a window, all dates alike: a batch of one sample of this height and width.
using WindowSource = std::function<Batch(std::int64_t top, std::int64_t left, std::int64_t height,
                                         std::int64_t width)>;
/// Takes finished pixels: results [1, C, rows, columns] (labels [1, rows, columns]) of the block
/// that begins at `top`, `left`. Blocks of one panel come from the top down without gaps, one panel
/// after the other from the left; what fits into memory is one panel, whole rows.
using BlockSink = std::function<void(std::int64_t top, std::int64_t left, const Outputs& block)>;

/// Where windows of `window` begin along an axis of `size`: every `stride`, the last one moved back
/// to end with the picture (mmseg's slide_inference).
STRATA_API std::vector<std::int64_t> window_starts(std::int64_t size, std::int64_t window,
                                                   std::int64_t stride);

/// How a picture is cut into panels so that what is held of its results fits into memory.
struct STRATA_API SlidePlan {
  struct Panel {
    std::size_t first, last;   // columns of windows that are computed
    std::int64_t left, right;  // columns of pixels that these make complete
  };
  std::vector<Panel> panels;
  std::int64_t window_batch = 1;   // windows at once
  std::int64_t rows_at_once = 64;  // of finished blocks
  std::int64_t bytes = 0;          // held at most
};
/// For results of `planes` float numbers a pixel and options.memory. A window of a column that lies
/// across a border is computed for both panels. At least one new column of windows comes with each
/// panel, whatever that takes.
STRATA_API SlidePlan plan_slide(const InferenceOptions& options, std::int64_t height,
                                std::int64_t width, std::int64_t planes);

/// Runs `predict` on batches of windows of a height x width picture and merges what overlaps, each
/// result by its kind (logits stay logits, as in mmseg). Holds no more rows than a window has, and
/// of those no more columns than options.memory has room for: results are the same bytes in any
/// number of panels. A window that covers the picture gives exactly what `predict` gives.
STRATA_API void slide(const InferenceOptions& options, std::int64_t height, std::int64_t width,
                      const WindowSource& read, const Predict& predict, const BlockSink& write);

/// The same over a batch in memory; its samples have the batch's size.
STRATA_API Outputs slide(const InferenceOptions& options, const Batch& batch,
                         const Predict& predict);

}  // namespace strata::inference
