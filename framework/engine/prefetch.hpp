// Batches on their way to a device.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <exception>
#include <functional>
#include <optional>

#include "framework/base/export.hpp"
#include "framework/model/batch.hpp"

namespace strata::engine {

/// Brings batches to a device, one ahead: while it works on a batch, the next is copied on a stream
/// of its own. What comes, and in which order, is what the source gives.
class STRATA_API Prefetcher {
 public:
  struct Source {
    std::function<Batch()> next;
    std::function<bool()> ready;  // whether next() would give a batch at once
  };
  Prefetcher(Source source, c10::Device device, bool channels_last);

  /// The next batch, on the device; on the CPU as the source gives it. Throws what the source
  /// threw for this batch.
  Batch next();
  /// The source has gone to another place: what was taken from it ahead is forgotten.
  void forget();

 private:
  void take_one_ahead();
  void copy_ahead();
  Batch arrived();

  Source source_;
  c10::Device device_;
  bool channels_last_;
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> copied_;
  std::optional<Batch> ahead_;
  std::exception_ptr failed_;  // instead of it
};

}  // namespace strata::engine
