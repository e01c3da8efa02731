#include "framework/metrics/metric.hpp"

namespace strata {

Metric::~Metric() = default;

}  // namespace strata
