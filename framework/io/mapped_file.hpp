// A file in memory without reading it: pages come when they are touched.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

/// A private, writable mapping: what is changed in it does not reach the file. It lives as long as
/// a copy of `data` does.
struct MappedFile {
  std::shared_ptr<char> data;
  std::size_t size = 0;
};

/// Throws CheckpointError "path: what is wrong". Of an empty file `data` is null.
STRATA_API MappedFile map_file(const std::string& path);

}  // namespace strata::io
