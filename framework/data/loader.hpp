// Batches from a dataset, made ahead by worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "framework/base/export.hpp"
#include "framework/data/dataset.hpp"
#include "framework/data/sampler.hpp"
#include "framework/data/transform.hpp"

namespace strata {

struct LoaderOptions {
  std::int64_t batch_size = 1;
  std::int64_t workers = 1;   // threads; 0: next() makes the batch itself
  std::int64_t prefetch = 2;  // batches made ahead
  bool drop_last = false;     // of a sampler that ends: leave out a last batch that is not full
  std::uint64_t seed = 0;
  bool pinned = false;  // batches in memory from which a GPU copies while it computes
};

/// Workers share single samples, not batches, and next() makes samples too as long as it would have
/// to wait: the first batch is there as soon as can be. The
/// randomness of a sample is Philox(seed, number of the draw), and batches come in the order of
/// draws, so that they hold the same bytes for any number of workers and after any seek.
///
/// A batch has images N×C×H×W in channels-last memory (uint8, or float where the samples are) and
/// labels N×H×W int64, as large as the largest sample in it; what smaller ones leave is 0 in images
/// and ignore_index in labels (meta has the valid area).
class STRATA_API Loader {
 public:
  Loader(std::shared_ptr<const Dataset> dataset,
         std::vector<std::shared_ptr<const Transform>> transforms, std::shared_ptr<Sampler> sampler,
         const LoaderOptions& options);
  ~Loader();  // stops the workers; what they have made ahead is lost
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch; nullopt after the last one. Rethrows what a worker threw (DataError), for the
  /// earliest draw of the batch that has an error.
  std::optional<Batch> next();

  /// Whether next() would give a batch at once.
  bool ready() const;

  /// Number of the first draw of the batch that next() gives.
  std::int64_t position() const;
  /// Goes to any draw, forward or back, without reading what lies between.
  void seek(std::int64_t draw);

  /// Seconds that next() has spent waiting (or, without workers, working) so far.
  double seconds_waited() const;

 private:
  class Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace strata
