#include "framework/base/philox.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace strata {
namespace {

using Block = std::array<std::uint32_t, 4>;

// The three known answers that the authors publish with their Random123 library for philox4x32-10.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, SequenceIsTheCounterFunction) {
  Philox random(0, 0);
  EXPECT_EQ(random.next_u64(), 0xe169c58d6627e8d5ULL);
  EXPECT_EQ(random.next_u32(), 0xbc57ac4cU);
  EXPECT_EQ(random.next_u32(), 0x9b00dbd8U);
  EXPECT_EQ(random.next_u32(), philox4x32_10({1, 0, 0, 0}, {0, 0})[0]);

  // Seed and stream fill the key and the upper half of the counter, low word first.
  Philox keyed(0x299f31d0a4093822ULL, 0x0370734413198a2eULL);
  keyed.seek(4 * std::uint64_t{0x05a308d3243f6a88ULL});
  EXPECT_EQ(keyed.next_u32(), philox4x32_10({0x243f6a88, 0x05a308d3, 0x13198a2e, 0x03707344},
                                            {0xa4093822, 0x299f31d0})[0]);
}

TEST(Philox, SeekReturnsToAnyWord) {
  Philox random(42, 7);
  std::vector<std::uint32_t> words(23);
  std::generate(words.begin(), words.end(), [&] { return random.next_u32(); });
  EXPECT_EQ(random.position(), 23U);
  for (std::size_t at : {22U, 0U, 5U, 6U, 13U, 4U}) {
    random.seek(at);
    EXPECT_EQ(random.next_u32(), words[at]) << "word " << at;
    if (at + 1 < words.size()) {
      EXPECT_EQ(random.next_u32(), words[at + 1]) << "word after " << at;
    }
  }
}

TEST(Philox, SeedsAndStreamsDiffer) {
  EXPECT_NE(Philox(1, 0).next_u64(), Philox(0, 1).next_u64());
  EXPECT_NE(Philox(1, 0).next_u64(), Philox(std::uint64_t{1} << 32, 0).next_u64());
  EXPECT_NE(Philox(0, 1).next_u64(), Philox(0, std::uint64_t{1} << 32).next_u64());
}

TEST(Philox, UniformStaysInRangeWithTheRightMoments) {
  Philox random(3);
  constexpr int kDraws = 200000;
  double sum = 0;
  double square = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.uniform();
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    square += x * x;
  }
  // Five standard errors: 0.2887 / sqrt(n) of the mean, 0.2981 / sqrt(n) of the mean square.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.2887 / std::sqrt(kDraws));
  EXPECT_NEAR(square / kDraws, 1.0 / 3, 5 * 0.2981 / std::sqrt(kDraws));
  for (int i = 0; i < 1000; ++i) {
    const double x = random.uniform(-2.0, 5.0);
    ASSERT_GE(x, -2.0);
    ASSERT_LT(x, 5.0);
  }
}

TEST(Philox, NormalHasTheRightMoments) {
  Philox random(4);
  constexpr int kDraws = 200000;
  double sum = 0;
  double square = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double x = random.normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    square += x * x;
  }
  EXPECT_NEAR(sum / kDraws, 0.0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(square / kDraws, 1.0, 5 * std::numbers::sqrt2 / std::sqrt(kDraws));
}

TEST(Philox, IntegerCoversBothEndsEvenly) {
  Philox random(5);
  std::array<int, 7> counts{};
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) {
    const std::int64_t x = random.integer(-3, 3);
    ASSERT_GE(x, -3);
    ASSERT_LE(x, 3);
    ++counts[static_cast<std::size_t>(x + 3)];
  }
  for (int count : counts) {
    EXPECT_NEAR(count, kDraws / 7, 5 * std::sqrt(kDraws * (1.0 / 7) * (6.0 / 7)));
  }
  EXPECT_EQ(random.integer(9, 9), 9);
  constexpr auto kLowest = std::numeric_limits<std::int64_t>::min();
  constexpr auto kHighest = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(random.integer(kLowest, kHighest), random.integer(kLowest, kHighest));
}

TEST(Philox, ShuffleIsAPermutationAndReachesAll) {
  Philox random(6);
  std::array<int, 24> seen{};
  for (int i = 0; i < 2400; ++i) {
    std::array<int, 4> order{0, 1, 2, 3};
    random.shuffle(order);
    std::array<int, 4> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted, (std::array<int, 4>{0, 1, 2, 3}));
    const int rank = order[0] * 6 + (order[1] - (order[1] > order[0])) * 2 + (order[2] > order[3]);
    ++seen[static_cast<std::size_t>(rank)];
  }
  for (int count : seen) {  // 100 expected, five deviations of about 9.8
    EXPECT_NEAR(count, 100, 49);
  }
  std::vector<int> empty;
  random.shuffle(empty);
  EXPECT_TRUE(empty.empty());
}

TEST(Philox, IsAStandardGenerator) {
  static_assert(std::uniform_random_bit_generator<Philox>);
  Philox random(1);
  std::uniform_int_distribution<int> die(1, 6);
  const int eyes = die(random);
  EXPECT_GE(eyes, 1);
  EXPECT_LE(eyes, 6);
}

}  // namespace
}  // namespace strata
