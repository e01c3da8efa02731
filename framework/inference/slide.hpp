// Windows that slide over a picture of any size.
#pragma once

#include <cstdint>
#include <functional>

#include "framework/inference/merge.hpp"
#include "framework/inference/options.hpp"

namespace strata::inference {

/// The pixels of a window, all dates alike: a batch of one sample of this height and width.
using WindowSource = std::function<Batch(std::int64_t top, std::int64_t left, std::int64_t height,
                                         std::int64_t width)>;
/// Takes finished rows, from the top down without gaps: results [1, C, rows, width] (labels
/// [1, rows, width]) of the rows that begin at `top`.
using StripSink = std::function<void(std::int64_t top, const Outputs& rows)>;

/// Where windows of `window` begin along an axis of `size`: every `stride`, the last one moved back
/// to end with the picture (mmseg's slide_inference).
STRATA_API std::vector<std::int64_t> window_starts(std::int64_t size, std::int64_t window,
                                                   std::int64_t stride);

/// Runs `predict` on batches of windows of a height x width picture and merges what overlaps, each
/// result by its kind (logits stay logits, as in mmseg). Holds no more rows than a window has. A
/// window that covers the picture gives exactly what `predict` gives.
STRATA_API void slide(const InferenceOptions& options, std::int64_t height, std::int64_t width,
                      const WindowSource& read, const Predict& predict, const StripSink& write);

/// The same over a batch in memory; its samples have the batch's size.
STRATA_API Outputs slide(const InferenceOptions& options, const Batch& batch,
                         const Predict& predict);

}  // namespace strata::inference
