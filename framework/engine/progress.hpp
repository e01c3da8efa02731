// How far a run is: numbers and text for people.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "framework/base/export.hpp"

namespace strata::engine {

/// "0:01:23", "2 days 3:04:05".
STRATA_API std::string duration_text(double seconds);

/// "[=====>      ]" of `width` characters inside the brackets.
STRATA_API std::string bar_text(double share, int width);

/// Peak of the process's resident memory so far, MiB.
STRATA_API std::int64_t peak_memory_mib();
/// Resident memory of the process now, MiB.
STRATA_API double resident_memory_mib();
/// Seconds since the process was started, to 10 ms.
STRATA_API double seconds_since_start();

/// Measures the speed of steps: validation and saving between two steps do not count.
class STRATA_API Pace {
 public:
  using Clock = std::chrono::steady_clock;
  void begin() { begun_ = Clock::now(); }
  void end();
  /// Mean of the steps since the last take(), seconds; 0 when there were none.
  double take();
  /// Seconds that `steps` more will need, by the pace so far; the newest steps weigh most.
  double remaining(std::int64_t steps) const { return smooth_ * static_cast<double>(steps); }
  double smooth() const { return smooth_; }

 private:
  Clock::time_point begun_;
  double sum_ = 0.0, smooth_ = 0.0;
  std::int64_t count_ = 0, total_ = 0;
};

}  // namespace strata::engine
