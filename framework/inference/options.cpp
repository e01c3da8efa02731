#include "framework/inference/options.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace strata {
namespace {

template <class T>
bool has_twice(std::vector<T> values) {
  std::sort(values.begin(), values.end());
  return std::adjacent_find(values.begin(), values.end()) != values.end();
}

}  // namespace

std::vector<std::int64_t> InferenceOptions::step() const {
  if (stride || !crop_size) return stride.value_or(std::vector<std::int64_t>{1, 1});
  return {std::max<std::int64_t>(1, (*crop_size)[0] * 2 / 3),
          std::max<std::int64_t>(1, (*crop_size)[1] * 2 / 3)};
}

void InferenceOptions::check() const {
  if (!slides()) return;
  if (!crop_size) {
    throw OptionError("crop_size", "is missing: mode = \"slide\" needs the size of a window");
  }
  for (std::size_t i = 0; i < 2; ++i) {
    if (step()[i] > (*crop_size)[i]) {
      throw OptionError("stride", fmt::format("must not be larger than crop_size, got {} for {}: "
                                              "pixels between windows would have no result",
                                              step()[i], (*crop_size)[i]));
    }
  }
}

void TtaOptions::check(std::int64_t dates) const {
  if (has_twice(views)) throw OptionError("views", "has a view twice, which would count double");
  if (has_twice(scales)) throw OptionError("scales", "has a scale twice, which would count double");
  if (exchange_dates && dates < 2) {
    throw OptionError("exchange_dates", "the model takes one image a sample");
  }
}

}  // namespace strata
