// Sizes of memory as a config writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "framework/base/export.hpp"
#include "framework/config/schema.hpp"

namespace strata {

/// "512 MiB", "1.5 GB", "0": bytes; nullopt for anything else.
STRATA_API std::optional<std::int64_t> parse_bytes(const std::string& text);

struct ByteSize {
  std::string text = "0";
  std::int64_t bytes = 0;
};

}  // namespace strata

namespace strata::config {

template <>
struct Codec<ByteSize> {
  static TypeInfo type() { return Codec<std::string>::type(); }
  static void parse(const Value& value, ByteSize& out, Binder& binder, const Constraints& c) {
    std::string text;
    if (!binder.read(value, text, c)) return;
    const auto bytes = parse_bytes(text);
    if (!bytes) return binder.reject(value, "expected a size such as \"512 MiB\" or \"2 GiB\"");
    out = {text, *bytes};
  }
  static Value dump(const ByteSize& size, bool) { return Value{Value::Data(size.text)}; }
};

}  // namespace strata::config
