#include "framework/data/sampler.hpp"

#include <numeric>
#include <stdexcept>

#include "framework/base/philox.hpp"

namespace strata {

namespace {

// Streams of orders and of samples (numbered by draw) never meet: they have different keys.
constexpr std::uint64_t kOrderKey = 0x5368'7566'666C'6531;  // "Shuffle1"

class ShuffledSampler final : public Sampler {
 public:
  ShuffledSampler(std::int64_t samples, std::uint64_t seed)
      : seed_(seed ^ kOrderKey), order_(static_cast<std::size_t>(samples)) {
    if (samples < 1) throw std::logic_error("a sampler needs samples");
  }

  std::int64_t index(std::int64_t draw) override {
    const auto size = static_cast<std::int64_t>(order_.size());
    const std::int64_t pass = draw / size;
    if (pass != pass_) {
      pass_ = pass;
      std::iota(order_.begin(), order_.end(), std::int64_t{0});
      Philox(seed_, static_cast<std::uint64_t>(pass)).shuffle(order_);
    }
    return order_[static_cast<std::size_t>(draw % size)];
  }
  std::optional<std::int64_t> draws() const override { return std::nullopt; }

 private:
  std::uint64_t seed_;
  std::int64_t pass_ = -1;
  std::vector<std::int64_t> order_;
};

class SequentialSampler final : public Sampler {
 public:
  SequentialSampler(std::int64_t samples, bool once) : samples_(samples), once_(once) {}
  std::int64_t index(std::int64_t draw) override { return draw % samples_; }
  std::optional<std::int64_t> draws() const override {
    return once_ ? std::optional(samples_) : std::nullopt;
  }

 private:
  std::int64_t samples_;
  bool once_;
};

}  // namespace

std::unique_ptr<Sampler> make_shuffled_sampler(std::int64_t samples, std::uint64_t seed) {
  return std::make_unique<ShuffledSampler>(samples, seed);
}

std::unique_ptr<Sampler> make_cycling_sampler(std::int64_t samples) {
  return std::make_unique<SequentialSampler>(samples, /*once=*/false);
}

std::unique_ptr<Sampler> make_sequential_sampler(std::int64_t samples) {
  return std::make_unique<SequentialSampler>(samples, /*once=*/true);
}

}  // namespace strata
