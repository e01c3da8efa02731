// Decoded samples kept in memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "framework/base/export.hpp"
#include "framework/config/byte_size.hpp"
#include "framework/data/dataset.hpp"

namespace strata {

/// Memory that several data sets share. Thread-safe.
class STRATA_API MemoryBudget {
 public:
  explicit MemoryBudget(std::int64_t bytes) : left_(bytes) {}
  /// Takes `bytes` if that many are left.
  bool take(std::int64_t bytes);
  void give_back(std::int64_t bytes) { left_ += bytes; }
  std::int64_t left() const { return left_; }

 private:
  std::atomic<std::int64_t> left_;
};

/// `dataset`, of which each sample that `budget` has room for is kept once it has been read. What
/// is kept stays: under an order that changes with each pass, replacing samples would only decode
/// others again. Samples share memory with the kept ones and must not be written into.
STRATA_API std::shared_ptr<const Dataset> make_cached(std::shared_ptr<const Dataset> dataset,
                                                      std::shared_ptr<MemoryBudget> budget);

}  // namespace strata
