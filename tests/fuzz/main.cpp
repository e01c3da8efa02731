// libFuzzer's program: STRATA_FUZZER names the fuzzer that it runs.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/fuzz/fuzzers.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const strata::fuzz::Fuzzer chosen = [] {
    const char* name = std::getenv("STRATA_FUZZER");
    for (const strata::fuzz::Fuzzer& each : strata::fuzz::kFuzzers) {
      if (name != nullptr && std::string_view(name) == each.name) return each;
    }
    std::fprintf(stderr, "fuzz: STRATA_FUZZER must name one of:");
    for (const auto& each : strata::fuzz::kFuzzers) std::fprintf(stderr, " %s", each.name);
    std::fprintf(stderr, "\n");
    std::exit(2);
  }();
  return chosen.run(data, size);
}
