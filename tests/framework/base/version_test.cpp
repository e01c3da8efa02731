#include "framework/base/version.hpp"

#include <gtest/gtest.h>

TEST(Version, NamesThreeNumbers) {
  EXPECT_EQ(strata::version(), "0.1.0");
  EXPECT_TRUE(strata::libtorch_version().starts_with("2."));
}
