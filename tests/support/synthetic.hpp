// Batches that need no files.
#pragma once

#include <cstdint>

#include "framework/model/batch.hpp"

namespace strata::tests {

/// `samples` random pictures a date and a random map of every label, a tenth of it ignored; drawn
/// from `seed` alone.
Batch synthetic_batch(const LabelSpecs& labels, std::int64_t dates, std::int64_t channels,
                      std::int64_t samples, std::int64_t height, std::int64_t width,
                      std::uint64_t seed = 0);

}  // namespace strata::tests
