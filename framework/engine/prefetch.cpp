#include "framework/engine/prefetch.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "framework/inference/serving.hpp"

namespace strata::engine {

Prefetcher::Prefetcher(Source source, c10::Device device, bool channels_last)
    : source_(std::move(source)), device_(device), channels_last_(channels_last) {}

Batch Prefetcher::next() {
  if (device_.is_cpu()) return source_.next();
  if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
  Batch batch =
      ahead_ ? arrived() : inference::to_device(source_.next(), device_, channels_last_);
  // Waiting for the loader here would keep the device waiting too.
  if (source_.ready()) take_one_ahead();
  return batch;
}

void Prefetcher::forget() {
  ahead_.reset();
  failed_ = nullptr;
}

void Prefetcher::take_one_ahead() {
  try {
    copy_ahead();
  } catch (...) {
    failed_ = std::current_exception();  // belongs to the batch that was not asked for yet
  }
}

void Prefetcher::copy_ahead() {
  if (!device_.is_cuda()) {
    ahead_ = inference::to_device(source_.next(), device_, channels_last_);
    return;
  }
  if (!stream_) {
    stream_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
  }
  const Batch batch = source_.next();
  const c10::StreamGuard guard(*stream_);
  ahead_ = inference::to_device(batch, device_, channels_last_);
  copied_.emplace(device_.type());
  copied_->record(*stream_);
}

Batch Prefetcher::arrived() {
  Batch batch = std::move(*ahead_);
  ahead_.reset();
  if (!copied_) return batch;
  // The stream that computes waits for the copy, and its memory is not reused before that is done.
  const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
  copied_->block(stream);
  for (const at::Tensor& images : batch.images) images.record_stream(stream);
  for (const auto& [name, target] : batch.targets) target.data.record_stream(stream);
  return batch;
}

}  // namespace strata::engine
