// Real data sets beside the checkout, for tests that skip without them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace strata::tests {

/// Folder `name` of $STRATA_SHARED/data or of ../shared/data beside the sources; "" when missing.
inline std::string shared_data(const std::string& name) {
  namespace fs = std::filesystem;
  const char* shared = std::getenv("STRATA_SHARED");
  const fs::path root =
      shared != nullptr ? fs::path(shared) : fs::path(STRATA_SOURCE_DIR) / "../shared";
  std::error_code error;
  const fs::path folder = root / "data" / name;
  return fs::is_directory(folder, error) ? folder.lexically_normal().string() : "";
}

}  // namespace strata::tests
