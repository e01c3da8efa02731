#include "necks/neck.hpp"

namespace strata {
namespace {

std::string of_date(const std::string& name, std::size_t date) {
  return name + "." + std::to_string(date);
}

}  // namespace

std::map<std::string, std::int64_t> extras_of_dates(const FeatureSpec& input) {
  std::map<std::string, std::int64_t> extras;
  for (std::size_t d = 0; d < static_cast<std::size_t>(input.dates); ++d) {
    for (const auto& [name, width] : input.extras) extras[of_date(name, d)] = width;
  }
  return extras;
}

std::map<std::string, at::Tensor> extras_of_dates(const DateFeatures& features) {
  std::map<std::string, at::Tensor> extras;
  for (std::size_t d = 0; d < features.size(); ++d) {
    for (const auto& [name, extra] : features[d].extras) extras[of_date(name, d)] = extra;
  }
  return extras;
}

}  // namespace strata
