// A kind for plugins of tests: no LibTorch, so that they build at once.
#pragma once

#include <string>

#include "registry/component.hpp"

namespace strata::tests {

struct Part {
  static constexpr const char* kind = "part";
  struct Context {
    std::string prefix;
  };
  virtual ~Part() = default;
  virtual std::string name() const = 0;
};

}  // namespace strata::tests
