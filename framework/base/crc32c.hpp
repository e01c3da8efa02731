// CRC-32C (Castagnoli), the checksum of TensorBoard records and of our checkpoints' manifests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "framework/base/export.hpp"

namespace strata {

/// Of `size` bytes; `crc` is that of what came before (0 at the start).
STRATA_API std::uint32_t crc32c(const void* data, std::size_t size, std::uint32_t crc = 0);

}  // namespace strata
