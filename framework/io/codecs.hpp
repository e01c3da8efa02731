// The PNG and JPEG codecs behind framework/io/image.hpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/io/image.hpp"

namespace strata::io::detail {

/// The content of a file, held by the caller.
struct Bytes {
  const std::string& path;  // for messages
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
};

bool is_png(const Bytes& bytes);
bool is_jpeg(const Bytes& bytes);

enum class Decode { rgb, as_stored, label };

/// Deflate shrinks nothing further than this: a header that claims more than so many times the bytes
/// of its file is damaged, and not to be believed with memory.
constexpr std::int64_t kMostInflation = 1032;
/// Throws DataError when `size` bytes, the pixels of a picture, are beyond what is read at all.
void check_size(const Bytes& bytes, const char* format, std::int64_t height, std::int64_t width,
                std::int64_t size);

/// rgb: [H, W, 3]; as_stored: [H, W, 1 to 4], float32 for 16 bits; label: [H, W] or [H, W, 3].
at::Tensor decode_png(const Bytes& bytes, Decode decode);
/// The usual case of decode_png, faster; undefined for what it leaves to decode_png: other depths and
/// layouts, and everything that is damaged.
at::Tensor decode_plain_png(const Bytes& bytes, Decode decode);
/// As decode_png; undefined for colour spaces that only OpenCV reads (CMYK). Of an `area` it gives
/// the same bytes as cut out of the whole, as a view; damage outside of it may go unnoticed.
at::Tensor decode_jpeg(const Bytes& bytes, Decode decode,
                       const std::optional<Area>& area = std::nullopt);
/// The whole of a file of which areas can be decoded by themselves for less: a complete JPEG file
/// in one scan, upright.
std::optional<Area> jpeg_in_areas(const Bytes& bytes);

/// A PNG file: `palette` (r, g, b after each other) makes it an indexed one; `channels` is 1 or 3.
std::string encode_png(const std::uint8_t* pixels, std::int64_t height, std::int64_t width,
                       int channels, const std::vector<std::uint8_t>& palette);

/// A PNG file under way, row by row; what is never finished leaves no file. Throws UserError "path:
/// cannot be written: …".
class PngRows {
 public:
  /// `channels` is 1 (indices into `palette`, or grey without one) or 3.
  PngRows(const std::string& path, std::int64_t height, std::int64_t width, int channels,
          const std::vector<std::vector<std::int64_t>>& palette);
  ~PngRows();
  void write(const std::uint8_t* pixels, std::int64_t rows);
  void finish();

 private:
  struct State;
  [[noreturn]] void fail(const std::string& why) const;

  std::string path_;
  std::unique_ptr<State> state_;
};

}  // namespace strata::io::detail
