// Samples side by side in a batch.
#pragma once

#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "framework/data/sample.hpp"

namespace strata::data {

/// A batch that is filled sample by sample, from several threads. The first sample decides its
/// size and is, like all others of this size, copied straight to its place; a sample of another
/// size waits for finish().
class Collation {
 public:
  /// `pinned`: in page-locked memory, which needs CUDA.
  explicit Collation(std::size_t samples, bool pinned = false)
      : samples_(samples), pinned_(pinned), kept_(samples), errors_(samples), meta_(samples) {}

  void put(std::size_t place, Sample sample);
  void fail(std::size_t place, std::exception_ptr error) { errors_[place] = std::move(error); }
  /// After all samples: enlarges the batch for those that wait. Throws DataError when images do not
  /// fit together (channels, 8-bit beside float), and what fail() was given first, by place.
  Batch finish();

 private:
  void allocate(const Sample& like, std::int64_t height, std::int64_t width);
  at::Tensor empty_images(std::int64_t channels, std::int64_t height, std::int64_t width,
                          at::ScalarType type) const;
  /// Of pictures of this size.
  at::Tensor empty_labels(std::int64_t height, std::int64_t width) const;
  std::int64_t label_side(std::int64_t side) const;
  void write(std::size_t place, const Sample& sample);
  bool fits(const Sample& sample) const;
  void enlarge(std::int64_t height, std::int64_t width);

  const std::size_t samples_;
  const bool pinned_;
  std::mutex mutex_;  // guards batch_'s layout and kept_
  Batch batch_;
  double label_scale_ = 1;
  std::vector<std::optional<Sample>> kept_;
  std::vector<std::exception_ptr> errors_;
  std::vector<SampleMeta> meta_;
};

}  // namespace strata::data
