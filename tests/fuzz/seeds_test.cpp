// Every seed of the fuzzers through its fuzzer: what was found once stays found, and the fuzzers
// build wherever the tests do.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/fuzz/fuzzers.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::fuzz {
namespace {

class Seeds : public testing::TestWithParam<Fuzzer> {};

TEST_P(Seeds, AreReadOrRefusedWithTheirPlace) {
  const std::string folder = STRATA_SOURCE_DIR "/tests/fuzz/seeds/";
  int count = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder + GetParam().name)) {
    SCOPED_TRACE(file.path());
    const std::string bytes = tests::file_content(file.path());
    GetParam().run(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ++count;
  }
  EXPECT_GT(count, 0);
}

INSTANTIATE_TEST_SUITE_P(Fuzzers, Seeds, testing::ValuesIn(kFuzzers),
                         [](const auto& fuzzer) { return std::string(fuzzer.param.name); });

}  // namespace
}  // namespace strata::fuzz
