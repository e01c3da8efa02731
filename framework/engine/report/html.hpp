// Pieces of an HTML page that needs nothing but itself.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::engine::html {

/// Text as it may stand in an element or an attribute. Control characters are dropped: no HTML
/// page may hold them.
STRATA_API std::string escaped(std::string_view text);

STRATA_API std::string base64(std::string_view bytes);
/// A picture inside the page; `type` is "png" or "jpeg".
STRATA_API std::string image(const std::string& type, const std::string& base64,
                             const std::string& alt);

/// "0.8312", "1.2e-05"; "–" for NaN.
STRATA_API std::string number(double value, int decimals = 4);

/// Two columns, names and values, both escaped.
STRATA_API std::string facts(const std::vector<std::pair<std::string, std::string>>& rows);

/// A whole page: `body` is what stands in <main>.
STRATA_API std::string page(const std::string& title, const std::string& body);

}  // namespace strata::engine::html
