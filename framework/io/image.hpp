// Pictures and label maps from files, and PNG files from them.
//
// PNG and JPEG are decoded here with libpng and libjpeg, straight into the tensor: OpenCV expands
// palette PNGs to colours, so that class indices are lost, and says nothing about files that are
// cut short. Everything else (TIFF, BMP, WebP, …) goes through OpenCV.
//
// Reading fails with a DataError "path: what; cure". All functions are thread-safe and use no
// thread but the caller's.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::io {

/// Switches OpenCV's own threads and messages off, once: loader threads are the parallelism. Every
/// caller of OpenCV that may run in one of them calls this; cv::setNumThreads itself must not be
/// called by two threads at a time.
STRATA_API void quiet_opencv();

/// Whether the file name has one of these endings (".png"), in any case.
STRATA_API bool ends_with_one_of(const std::string& name, const std::vector<std::string>& endings);
/// The endings of pictures that read_image can read, with their dots.
STRATA_API const std::vector<std::string>& image_suffixes();

enum class Channels {
  rgb,        // three channels, 8 bits: grey is repeated, an alpha channel dropped
  as_stored,  // the file's own channels in RGB(A) order; 16-bit and float values as float32
};

/// Decodes a picture to [H, W, C] uint8 or float32, contiguous. The orientation that a camera
/// noted in a JPEG (EXIF) is applied.
STRATA_API at::Tensor read_image(const std::string& path, Channels channels = Channels::rgb);

/// Rows and columns of a picture.
struct Area {
  std::int64_t top, left, height, width;
};

/// A picture of which any area can be had: one in memory, or a file that is decoded as far as is
/// asked (JPEG; others are decoded when they are opened). Cheap to copy.
class STRATA_API LazyImage {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): any picture will do
  LazyImage(at::Tensor pixels) : pixels_(std::move(pixels)) {}
  /// Throws as read_image does.
  LazyImage(const std::string& path, Channels channels);

  std::int64_t height() const { return file_ ? whole_.height : pixels_.size(0); }
  std::int64_t width() const { return file_ ? whole_.width : pixels_.size(1); }
  /// What read_image gives.
  at::Tensor whole() const;
  /// The same bytes as cut out of the whole, as a view where that is there. Throws as read_image
  /// does, but for damage outside of the area, which it may not see.
  at::Tensor part(const Area& area) const;

 private:
  struct File;
  at::Tensor pixels_;
  std::shared_ptr<const File> file_;
  Area whole_{};  // of file_
};

/// Decodes a label file: [H, W] uint8 with the stored values (palette indices, grey values that
/// are not scaled, 16-bit values if they fit), or [H, W, 3] uint8 for a picture in colours.
STRATA_API at::Tensor read_label(const std::string& path);

/// The PNG file of [H, W] uint8 (grey) or [H, W, 3] uint8 (RGB).
STRATA_API std::string encode_png(const at::Tensor& image);

/// Writes [H, W] uint8 (grey) or [H, W, 3] uint8 (RGB) as PNG: the file is there whole or not at
/// all (UserError "path: cannot be written: …").
STRATA_API void write_png(const std::string& path, const at::Tensor& image);

/// [H, W, 3] uint8 (RGB) as the bytes of a JPEG file; quality is 1 to 100.
STRATA_API std::string jpeg_bytes(const at::Tensor& image, int quality);

/// Writes a label map [H, W] uint8 as palette PNG: `palette` holds [r, g, b] for index 0, 1, …;
/// indices beyond it are black.
STRATA_API void write_label_png(const std::string& path, const at::Tensor& map,
                                const std::vector<std::vector<std::int64_t>>& palette);

}  // namespace strata::io
