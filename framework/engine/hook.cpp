#include "framework/engine/hook.hpp"

namespace strata {

Hook::~Hook() = default;

}  // namespace strata
