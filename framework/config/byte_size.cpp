#include "framework/config/byte_size.hpp"

#include <cstdlib>
#include <map>

namespace strata {

std::optional<std::int64_t> parse_bytes(const std::string& text) {
  static const std::map<std::string, double> units = {
      {"B", 1},           {"KB", 1e3},        {"MB", 1e6},        {"GB", 1e9},       {"TB", 1e12},
      {"KiB", 0x1.0p+10}, {"MiB", 0x1.0p+20}, {"GiB", 0x1.0p+30}, {"TiB", 0x1.0p+40}};
  if (text.empty() || !(text[0] >= '0' && text[0] <= '9')) return std::nullopt;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  while (*end == ' ') ++end;
  const std::string unit = end;
  if (unit.empty()) return number == 0 ? std::optional<std::int64_t>(0) : std::nullopt;
  const auto found = units.find(unit);
  if (found == units.end()) return std::nullopt;
  const double bytes = number * found->second;
  if (!(bytes < 0x1.0p+62)) return std::nullopt;
  return static_cast<std::int64_t>(bytes);
}

}  // namespace strata
