#pragma once
// Philox4x32-10, the counter-based random generator of Salmon, Moraes, Dror and Shaw, "Parallel
// random numbers: as easy as 1, 2, 3" (SC 2011). Every draw is a pure function of (seed, stream,
// position): no state is shared, any thread can start anywhere, and a run that is resumed or split
// over ranks sees the same numbers.
#include <array>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <numbers>
#include <ranges>
#include <utility>

namespace strata {

/// The bare function: ten rounds of Philox on one 128-bit counter (four words, low word first)
/// under a 64-bit key.
inline std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53U;
  constexpr std::uint64_t kMultiplier1 = 0xCD9E8D57U;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
  constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = kMultiplier0 * counter[0];
    const std::uint64_t p1 = kMultiplier1 * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

/// A sequence of random numbers. The key is `seed`; the counter is (block number, `stream`), so
/// 2^64 streams of 2^66 words each never overlap. Also a standard UniformRandomBitGenerator, but
/// prefer the members here: they give the same values with every standard library.
class Philox {
 public:
  using result_type = std::uint32_t;

  explicit Philox(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return 0xFFFFFFFFU; }
  result_type operator()() { return next_u32(); }

  std::uint32_t next_u32() {
    const auto word = static_cast<std::size_t>(position_ & 3U);
    if (word == 0 || !filled_) {
      refill();
    }
    ++position_;
    return block_[word];
  }

  /// Two consecutive words, the first one low.
  std::uint64_t next_u64() {
    const std::uint64_t low = next_u32();
    return low | (static_cast<std::uint64_t>(next_u32()) << 32);
  }

  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1.0p-53; }

  /// Uniform in [low, high).
  double uniform(double low, double high) { return low + (high - low) * uniform(); }

  /// Uniform integer in [low, high], both ends included, without modulo bias. Needs low <= high.
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    const std::uint64_t span =
        static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) + 1U;
    std::uint64_t draw = next_u64();
    if (span != 0) {  // 0: the whole 64-bit range
      const std::uint64_t biased =
          (std::uint64_t{0} - span) % span;  // 2^64 mod span draws are one too many
      while (draw < biased) {
        draw = next_u64();
      }
      draw %= span;
    }
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(low) + draw);
  }

  /// True with the given probability.
  bool chance(double probability) { return uniform() < probability; }

  /// Normal with mean 0 and deviation 1 (Box-Muller; the second value is dropped, so that a draw
  /// has no memory).
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
    return radius * std::cos(2.0 * std::numbers::pi * uniform());
  }

  /// Fisher-Yates shuffle, the same permutation with every standard library.
  template <std::ranges::random_access_range Range>
  void shuffle(Range&& range) {
    const auto first = std::ranges::begin(range);
    for (std::int64_t i = static_cast<std::int64_t>(std::ranges::distance(range)) - 1; i > 0; --i) {
      using Distance = std::ranges::range_difference_t<Range>;
      using std::swap;
      swap(first[static_cast<Distance>(i)], first[static_cast<Distance>(integer(0, i))]);
    }
  }

  /// Number of 32-bit words drawn so far; `seek` goes to any of them. (seed, stream, position) is
  /// the whole state.
  [[nodiscard]] std::uint64_t position() const { return position_; }
  void seek(std::uint64_t position) {
    position_ = position;
    filled_ = false;
  }
  [[nodiscard]] std::uint64_t seed() const { return seed_; }
  [[nodiscard]] std::uint64_t stream() const { return stream_; }

 private:
  void refill() {
    const std::uint64_t block = position_ >> 2;
    block_ = philox4x32_10(
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
         static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
        {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
    filled_ = true;
  }

  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;
  std::array<std::uint32_t, 4> block_{};
  bool filled_ = false;
};

}  // namespace strata
