// SIGINT and SIGTERM as a flag, while an object of this lives.
#pragma once

#include <csignal>

#include "framework/base/export.hpp"

namespace strata::engine {

/// The first signal raises the flag; a second one ends the process as it would have without us.
class STRATA_API InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool raised();

 private:
  struct sigaction old_interrupt_ {};
  struct sigaction old_terminate_ {};
};

}  // namespace strata::engine
