// What a plugin should not be, one mistake a build: STRATA_BAD says which.
#include <stdexcept>

#include "framework/base/version.hpp"
#include "registry/build_facts.hpp"
#include "registry/plugin_abi.h"
#include "tests/plugins/part.hpp"

#define BAD_ABI 1
#define BAD_INTERFACE 2
#define BAD_THROWS 3
#define BAD_NAME_TAKEN 4
#define BAD_NO_SYMBOL 5
#define BAD_UNDEFINED 6
#define BAD_SILENT 7

#if STRATA_BAD == BAD_UNDEFINED
extern "C" int strata_test_function_that_nobody_defines();
#endif

namespace {

class Screw final : public strata::tests::Part {
 public:
  Screw(strata::NoOptions, const Context&) {}
  std::string name() const override { return "screw"; }
};

[[maybe_unused]] void register_components(strata::Registry& registry) {
  using strata::NoOptions;
  using strata::tests::Part;
  registry.add<Part, Screw, NoOptions>("Screw", "turns");
#if STRATA_BAD == BAD_THROWS
  throw std::runtime_error("the driver is missing");
#elif STRATA_BAD == BAD_NAME_TAKEN
  registry.add<Part, Screw, NoOptions>("Bolt", "is not the first of its name");
#elif STRATA_BAD == BAD_UNDEFINED
  strata_test_function_that_nobody_defines();
#endif
}

}  // namespace

#if STRATA_BAD != BAD_NO_SYMBOL
extern "C" STRATA_API const strata_plugin_info_t* strata_plugin_info() {
  static strata_plugin_info_t info = {
      sizeof(strata_plugin_info_t),
      STRATA_PLUGIN_API,
      strata::version().data(),
      "none",
      STRATA_BUILD_COMPILER,
      STRATA_BUILD_CXX_STANDARD,
      STRATA_BUILD_CXX11_ABI,
      "cpu",
      strata::build_type().data(),
      "bad",
      "1.0",
      "none",
      register_components,
  };
#if STRATA_BAD == BAD_ABI
  info.strata = "0.0.9";
  info.libtorch = "1.13.1";
  info.compiler = "gcc 4";
  info.cxx_standard = "201703L";
  info.cxx11_abi = "0";
  info.cuda = "9.2";
  info.build_type = "debug of long ago";
#elif STRATA_BAD == BAD_INTERFACE
  info.struct_size = 16;
  info.api = 0;
#elif STRATA_BAD == BAD_SILENT
  return nullptr;
#endif
  return &info;
}
#endif
