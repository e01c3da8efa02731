// The main of every test program: prints the seed, so that a failure can be run again.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/support/seed.hpp"

namespace strata::tests {
namespace {
std::uint64_t g_seed = 20260521;
}

std::uint64_t seed() { return g_seed; }
}  // namespace strata::tests

int main(int argc, char** argv) {
  if (const char* text = std::getenv("STRATA_TEST_SEED")) {
    strata::tests::g_seed = std::strtoull(text, nullptr, 10);
  }
  testing::InitGoogleTest(&argc, argv);
  std::printf("seed %llu (set STRATA_TEST_SEED to change it)\n",
              static_cast<unsigned long long>(strata::tests::seed()));
  return RUN_ALL_TESTS();
}
