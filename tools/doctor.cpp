// doctor: what this program is made of and what it finds on this machine.
#include <ATen/Version.h>

#include <cstdio>
#include <string>

#include "framework/base/version.hpp"

namespace strata::tools {

int run_doctor(int, char**) {
  std::printf("strata    %s (%s)\nlibtorch  %s\n%s", std::string(version()).c_str(),
              std::string(build_type()).c_str(), std::string(libtorch_version()).c_str(),
              at::show_config().c_str());
  return 0;
}

}  // namespace strata::tools
