#include "framework/data/implied.hpp"

#include <ATen/ops/empty_like.h>

namespace strata::data {

at::Tensor implied_change(const std::string& rule, const SampleTarget& before,
                          const SampleTarget& after, const LabelSpec& change) {
  const at::Tensor first = before.map.contiguous(), second = after.map.contiguous();
  at::Tensor map = at::empty_like(first);
  const bool differs = rule == "differs";
  const auto ignored = static_cast<std::uint8_t>(change.ignore_index);
  const auto none_before = static_cast<std::uint8_t>(before.spec->ignore_index);
  const auto none_after = static_cast<std::uint8_t>(after.spec->ignore_index);
  const auto* a = first.const_data_ptr<std::uint8_t>();
  const auto* b = second.const_data_ptr<std::uint8_t>();
  auto* out = map.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < map.numel(); ++i) {
    const bool in_a = a[i] != none_before, in_b = b[i] != none_after;
    if (differs) {
      out[i] = in_a && in_b ? static_cast<std::uint8_t>(a[i] != b[i]) : ignored;
    } else {
      out[i] = static_cast<std::uint8_t>(in_a || in_b);
    }
  }
  return map;
}

void keep_changed(SampleTarget& semantic, const SampleTarget& change) {
  const auto ignored = static_cast<std::uint8_t>(semantic.spec->ignore_index);
  auto* values = semantic.map.mutable_data_ptr<std::uint8_t>();
  const auto* changed = change.map.const_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < semantic.map.numel(); ++i) {
    if (changed[i] == 0) values[i] = ignored;
  }
}

}  // namespace strata::data
