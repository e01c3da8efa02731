// Many small pictures on one sheet.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::data {

/// Pictures [H, W, 3] uint8 of one sample, shown side by side under a title.
struct SheetRow {
  std::string title;
  std::vector<at::Tensor> pictures;
};

struct SheetColour {
  std::string name;
  std::vector<std::int64_t> colour;  // r, g, b
};

/// [H, W, 3] uint8: every picture fitted into `cell` pixels a side, rows in as many columns as come
/// closest to a sheet of 3 : 2, the colours' names below. Letters outside ASCII become "?".
STRATA_API at::Tensor contact_sheet(const std::vector<SheetRow>& rows,
                                    const std::vector<SheetColour>& legend, std::int64_t cell);

}  // namespace strata::data
