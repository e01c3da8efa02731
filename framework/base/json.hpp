// JSON files: whole or not there when written, located errors when read. For .cpp files only: the
// library behind it is large.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"

namespace strata {

/// Keys keep the order in which they were set.
using Json = nlohmann::ordered_json;

/// Throws DataError with the path and the place of the mistake.
inline Json read_json(const std::string& path) {
  try {
    return Json::parse(read_text(path));
  } catch (const Json::parse_error& error) {
    throw DataError(path + ": not valid JSON at byte " + std::to_string(error.byte));
  }
}

/// Indented, ending with a newline. Not-a-number becomes null, as JSON knows no other word.
inline void write_json(const std::string& path, const Json& json) {
  write_text(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace strata
