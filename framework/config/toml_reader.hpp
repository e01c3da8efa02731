// TOML text to a Value tree. The one file behind it is the only one that includes toml++.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "framework/config/value.hpp"

namespace strata::config {

/// Parses a document; `name` is the source that origins carry, `folder` what relative paths in it
/// count from. Throws ConfigError at the first syntax error, or with every date in it.
STRATA_API Value parse_toml(std::string_view text, const std::string& name,
                            const std::string& folder);

/// Reads a file. Throws ConfigError when it cannot be read; `asked_from` is the place that named
/// it (a `_base_` entry), if any.
STRATA_API Value read_toml_file(const std::string& path, const Origin& asked_from = {});

/// One TOML value ("[256, 256]", "1e-3", "true"); nullopt when the text is none, with the reason
/// in `why`.
STRATA_API std::optional<Value> parse_toml_value(std::string_view text, const Origin& origin,
                                                 std::string* why = nullptr);

}  // namespace strata::config
