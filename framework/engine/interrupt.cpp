#include "framework/engine/interrupt.hpp"

#include <atomic>

namespace strata::engine {
namespace {

// The handler may run on any thread; only what is lock-free may be used there.
std::atomic<bool> g_raised = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int signal) {
  if (g_raised.exchange(true)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

InterruptGuard::InterruptGuard() {
  g_raised = false;
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a write that is under way goes on
  ::sigaction(SIGINT, &action, &old_interrupt_);
  ::sigaction(SIGTERM, &action, &old_terminate_);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &old_interrupt_, nullptr);
  ::sigaction(SIGTERM, &old_terminate_, nullptr);
}

bool InterruptGuard::raised() { return g_raised; }

}  // namespace strata::engine
