// Label maps that are larger than memory should be, while they come in parts.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "framework/base/export.hpp"

namespace strata::io {

/// A map of bytes in a file without a name, which goes away with it.
class STRATA_API ScratchMap {
 public:
  /// In `folder`. Throws UserError "folder: cannot be written: …".
  ScratchMap(const std::string& folder, std::int64_t height, std::int64_t width);
  ~ScratchMap();
  ScratchMap(const ScratchMap&) = delete;
  ScratchMap& operator=(const ScratchMap&) = delete;

  /// A block [rows, columns] uint8.
  void write(std::int64_t top, std::int64_t left, const at::Tensor& block);
  /// [rows, width].
  at::Tensor read(std::int64_t top, std::int64_t rows) const;
  std::int64_t height() const { return height_; }

 private:
  [[noreturn]] void fail() const;

  std::string folder_;
  std::int64_t height_, width_;
  int file_ = -1;
};

}  // namespace strata::io
