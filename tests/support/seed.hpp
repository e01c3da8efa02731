// The seed that random tests draw from.
#pragma once

#include <cstdint>

namespace strata::tests {

/// The same for every run, unless the environment sets STRATA_TEST_SEED.
std::uint64_t seed();

}  // namespace strata::tests
