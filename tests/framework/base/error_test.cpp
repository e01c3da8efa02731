// How problems are put into words, and which name was meant.
#include "framework/base/error.hpp"

#include <gtest/gtest.h>

namespace strata {
namespace {

TEST(Error, ProblemsAreSortedByPlaceOneALine) {
  const ConfigError error({{{"b.toml", 1, 1}, "x", "is wrong"},
                           {{"a.toml", 9, 2}, "", "is no TOML"},
                           {{"a.toml", 2, 5}, "y.z", "must be a table, got 1"},
                           {{"--set k", 0, 0}, "k", "unknown key"}});
  EXPECT_STREQ(error.what(),
               "--set k: k: unknown key\na.toml:2:5: y.z: must be a table, got 1\n"
               "a.toml:9:2: is no TOML\nb.toml:1:1: x: is wrong");
  EXPECT_EQ(error.problems().front().where.source, "--set k");
}

TEST(DidYouMean, TakesTheNearestName) {
  const std::vector<std::string> names{"num_classes", "channels", "dropout", "norm"};
  EXPECT_EQ(did_you_mean("num_class", names), "; did you mean \"num_classes\"?");
  EXPECT_EQ(did_you_mean("Num-Classes", names), "; did you mean \"num_classes\"?");
  EXPECT_EQ(did_you_mean("chnanels", names), "; did you mean \"channels\"?") << "exchanged letters";
  EXPECT_EQ(did_you_mean("weights", names), "");
  EXPECT_EQ(did_you_mean("norm", names), "") << "the name itself is no advice";
  EXPECT_EQ(did_you_mean("", names), "");
  EXPECT_EQ(did_you_mean("ab2", {"xb2", "ab1"}), "; did you mean \"ab1\"?")
      << "of equally near ones that with the longer common beginning";
}

TEST(DidYouMean, LeavesNamesOfHostileLengthAlone) {
  // Two of a megabyte would take a terabyte of distances.
  const std::string name(1 << 20, 'a');
  EXPECT_EQ(did_you_mean(name + "b", {name, "a"}), "");
  EXPECT_EQ(did_you_mean("a", {name}), "");
}

}  // namespace
}  // namespace strata
