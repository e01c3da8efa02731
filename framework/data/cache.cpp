#include "framework/data/cache.hpp"

#include <mutex>
#include <optional>
#include <vector>

#include "framework/base/log.hpp"

namespace strata {

bool MemoryBudget::take(std::int64_t bytes) {
  std::int64_t now = left_;
  while (now >= bytes) {
    if (left_.compare_exchange_weak(now, now - bytes)) return true;
  }
  return false;
}

namespace {

std::int64_t bytes_of(const Sample& sample) {
  constexpr std::int64_t kBeside = 2048;  // tensors' own records, names, the map of targets
  std::int64_t bytes = kBeside;
  for (const at::Tensor& image : sample.images) bytes += static_cast<std::int64_t>(image.nbytes());
  for (const auto& [name, target] : sample.targets) {
    bytes += static_cast<std::int64_t>(target.map.nbytes());
  }
  return bytes;
}

class CachedDataset final : public Dataset {
 public:
  CachedDataset(std::shared_ptr<const Dataset> dataset, std::shared_ptr<MemoryBudget> budget)
      : dataset_(std::move(dataset)),
        budget_(std::move(budget)),
        kept_(static_cast<std::size_t>(dataset_->size())) {}
  ~CachedDataset() override { budget_->give_back(taken_); }

  std::int64_t size() const override { return dataset_->size(); }
  std::string name(std::int64_t index) const override { return dataset_->name(index); }
  std::map<std::string, SampleTarget> read_targets(std::int64_t index) const override {
    return dataset_->read_targets(index);
  }
  std::string target_state(std::int64_t index) const override {
    return dataset_->target_state(index);
  }

  Sample read(std::int64_t index) const override {
    const auto place = static_cast<std::size_t>(index);
    {
      const std::lock_guard lock(mutex_);
      if (kept_[place]) return *kept_[place];
    }
    Sample sample = dataset_->read(index);
    const std::int64_t bytes = bytes_of(sample);
    const std::lock_guard lock(mutex_);
    if (kept_[place]) return sample;  // another thread was faster
    if (!budget_->take(bytes)) {
      if (!full_) {
        log::info(
            "data.cache: full, {} of {} samples are kept in {} MiB; the others are decoded at "
            "each draw",
            count_, kept_.size(), taken_ >> 20);
      }
      full_ = true;
      return sample;
    }
    kept_[place] = sample;
    taken_ += bytes;
    if (++count_ == kept_.size()) {
      log::info("data.cache: all {} samples are kept in {} MiB", count_, taken_ >> 20);
    }
    return sample;
  }

 private:
  const std::shared_ptr<const Dataset> dataset_;
  const std::shared_ptr<MemoryBudget> budget_;
  mutable std::mutex mutex_;  // guards what follows
  mutable std::vector<std::optional<Sample>> kept_;
  mutable std::int64_t taken_ = 0;
  mutable std::size_t count_ = 0;
  mutable bool full_ = false;
};

}  // namespace

std::shared_ptr<const Dataset> make_cached(std::shared_ptr<const Dataset> dataset,
                                           std::shared_ptr<MemoryBudget> budget) {
  if (!budget || budget->left() <= 0) return dataset;
  return std::make_shared<CachedDataset>(std::move(dataset), std::move(budget));
}

}  // namespace strata
