// Files that grow while a run goes on: lines and events that are appended one by one.
#pragma once

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "framework/base/error.hpp"

namespace strata {

/// Throws UserError "path: cannot be written: …" once opening or writing has failed. Set errno to 0
/// before either: a stream does not say why it failed.
inline void check_written(const std::ofstream& file, const std::string& path) {
  if (file) return;
  throw UserError(path + ": cannot be written: " +
                  (errno == 0 ? "unknown reason" : std::strerror(errno)));
}

}  // namespace strata
