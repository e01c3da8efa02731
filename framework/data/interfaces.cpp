#include "framework/data/dataset.hpp"
#include "framework/data/transform.hpp"

namespace strata {

Dataset::~Dataset() = default;
Transform::~Transform() = default;

}  // namespace strata
