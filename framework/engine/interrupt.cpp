#include "framework/engine/interrupt.hpp"

namespace strata::engine {
namespace {

volatile std::sig_atomic_t g_raised = 0;

void on_signal(int signal) {
  if (g_raised != 0) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  g_raised = 1;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  g_raised = 0;
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

bool InterruptGuard::raised() { return g_raised != 0; }

}  // namespace strata::engine
