// The order in which batches come when one is taken ahead. The device is "meta", which has no
// memory: copying is left to a machine with a GPU, the rest is the same.
#include "framework/engine/prefetch.hpp"

#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace strata::engine {
namespace {

struct Numbers {
  std::int64_t next = 0;
  bool ready = true;
  std::int64_t broken = -1;

  Prefetcher::Source source() {
    return {[this] {
              const std::int64_t number = next++;
              if (number == broken) throw std::runtime_error("batch " + std::to_string(number));
              Batch batch;
              batch.images.push_back(at::zeros({1, 3, 4, 4}));
              batch.meta.emplace_back();
              batch.meta[0].name = std::to_string(number);
              return batch;
            },
            [this] { return ready; }};
  }
};

TEST(Prefetcher, TakesOneAheadWhereOneIsReady) {
  Numbers numbers;
  Prefetcher prefetcher(numbers.source(), c10::Device("meta"), true);
  for (std::int64_t i = 0; i < 6; ++i) {
    numbers.ready = i % 3 != 2;
    const Batch batch = prefetcher.next();
    EXPECT_EQ(batch.meta[0].name, std::to_string(i));
    EXPECT_TRUE(batch.images[0].is_meta());
    EXPECT_EQ(numbers.next, i + 1 + numbers.ready);
  }
}

TEST(Prefetcher, ForgetsWhatItTookAhead) {
  Numbers numbers;
  Prefetcher prefetcher(numbers.source(), c10::Device("meta"), false);
  prefetcher.next();
  numbers.next = 40;
  prefetcher.forget();
  EXPECT_EQ(prefetcher.next().meta[0].name, "40");
}

// An error belongs to the batch that has it: the one before is still trained on.
TEST(Prefetcher, ErrorsComeInTheirTurn) {
  Numbers numbers;
  numbers.broken = 1;
  Prefetcher prefetcher(numbers.source(), c10::Device("meta"), false);
  EXPECT_EQ(prefetcher.next().meta[0].name, "0");
  EXPECT_THROW(prefetcher.next(), std::runtime_error);
  EXPECT_EQ(prefetcher.next().meta[0].name, "2");
}

TEST(Prefetcher, PassesBatchesOnTheCpu) {
  Numbers numbers;
  Prefetcher prefetcher(numbers.source(), c10::Device("cpu"), true);
  EXPECT_EQ(prefetcher.next().meta[0].name, "0");
  EXPECT_EQ(numbers.next, 1) << "nothing is taken ahead";
}

}  // namespace
}  // namespace strata::engine
