// The PNG files that label maps and most pictures are (8 bits, no interlacing), with libdeflate:
// about four times as fast as libpng. Whatever is unusual or damaged is left to libpng, which says
// what is wrong with it.
#include <ATen/ops/empty.h>
#include <libdeflate.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "framework/io/codecs.hpp"

namespace strata::io::detail {

namespace {

std::uint32_t word_at(const std::uint8_t* p) {
  return static_cast<std::uint32_t>(p[0]) << 24 | static_cast<std::uint32_t>(p[1]) << 16 |
         static_cast<std::uint32_t>(p[2]) << 8 | p[3];
}

struct PlainPng {
  std::int64_t height = 0, width = 0, channels = 0;
  std::vector<std::pair<const std::uint8_t*, std::size_t>> parts;  // of the compressed pixels
};

// The layout of the file; false: not one that is read here, or damaged.
bool parse(const Bytes& bytes, Decode decode, PlainPng& png) {
  constexpr std::size_t kSignature = 8, kFrame = 12, kHeader = 13;
  constexpr std::uint32_t kMostPixels = 1 << 25;
  bool ended = false;
  for (std::size_t at = kSignature; !ended;) {
    if (bytes.size - at < kFrame) return false;
    const std::uint8_t* chunk = bytes.data + at;
    const std::size_t size = word_at(chunk);
    if (size > bytes.size - at - kFrame) return false;
    const std::uint8_t *name = chunk + 4, *data = chunk + 8;
    if (libdeflate_crc32(0, name, size + 4) != word_at(data + size)) return false;
    auto is = [&](const char* what) { return std::memcmp(name, what, 4) == 0; };
    if (is("IHDR")) {
      if (size != kHeader || at != kSignature) return false;
      const std::uint32_t width = word_at(data), height = word_at(data + 4);
      const int bits = data[8], colour = data[9];
      const bool odd = data[10] != 0 || data[11] != 0 || data[12] != 0;  // methods, interlacing
      // Grey and palette indices as labels, RGB as a picture: pixels come out as they are stored.
      const bool one = (colour == 0 || colour == 3) && decode == Decode::label;
      const bool three = colour == 2;
      if (bits != 8 || odd || !(one || three) || width == 0 || height == 0 ||
          width > kMostPixels / height) {
        return false;
      }
      png.height = height;
      png.width = width;
      png.channels = three ? 3 : 1;
    } else if (is("IDAT")) {
      png.parts.emplace_back(data, size);
    } else if (is("IEND")) {
      ended = true;
    } else if (is("tRNS") && decode == Decode::as_stored) {
      return false;  // a channel of its own
    } else if ((name[0] & 32) == 0 && !is("PLTE")) {
      return false;  // something that a reader must know
    }
    at += kFrame + size;
  }
  std::size_t packed = 0;
  for (const auto& [part, count] : png.parts) packed += count;
  const std::int64_t claimed = png.height * (png.width * png.channels + 1);
  return png.height > 0 && packed > 0 && claimed / kMostInflation <= static_cast<std::int64_t>(packed);
}

struct FreeInflater {
  void operator()(libdeflate_decompressor* p) const { libdeflate_free_decompressor(p); }
};

bool inflate(const PlainPng& png, std::vector<std::uint8_t>& out) {
  thread_local const std::unique_ptr<libdeflate_decompressor, FreeInflater> inflater(
      libdeflate_alloc_decompressor());
  thread_local std::vector<std::uint8_t> joined;
  auto [data, size] = png.parts.front();
  if (png.parts.size() > 1) {
    joined.clear();
    for (const auto& [part, count] : png.parts) joined.insert(joined.end(), part, part + count);
    data = joined.data();
    size = joined.size();
  }
  return inflater && libdeflate_zlib_decompress(inflater.get(), data, size, out.data(), out.size(),
                                                nullptr) == LIBDEFLATE_SUCCESS;
}

std::uint8_t paeth(int left, int up, int corner) {
  const int by_left = std::abs(up - corner), by_up = std::abs(left - corner);
  const int by_corner = std::abs(left + up - 2 * corner);
  if (by_left <= by_up && by_left <= by_corner) return static_cast<std::uint8_t>(left);
  return static_cast<std::uint8_t>(by_up <= by_corner ? up : corner);
}

// Paeth's prediction is the value to the left where the row above does not change. Label maps are
// mostly such, with nothing stored on top of it: repeats that value, eight at a time, as often as
// that holds, and gives how often. What lies behind in `out` may be written to.
std::int64_t repeat_left(const std::uint8_t* in, const std::uint8_t* up, std::uint8_t* out,
                         std::int64_t count) {
  std::uint64_t left = 0, stored = 0, above = 0, corner = 0;
  std::memset(&left, out[-1], 8);
  std::int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    std::memcpy(&stored, in + i, 8);
    std::memcpy(&above, up + i, 8);
    std::memcpy(&corner, up + i - 1, 8);
    std::memcpy(out + i, &left, 8);
    if (const std::uint64_t other = stored | (above ^ corner); other != 0) {
      const bool little = std::endian::native == std::endian::little;
      return i + (little ? std::countr_zero(other) : std::countl_zero(other)) / 8;
    }
  }
  return i;
}

// One row from what is stored of it (PNG specification, 9: filtering). `up` is the row above.
template <int kStep>
bool restore_row(int filter, const std::uint8_t* in, const std::uint8_t* up, std::uint8_t* out,
                 std::int64_t count) {
  auto sum = [](int a, int b) { return static_cast<std::uint8_t>(a + b); };
  std::int64_t i = 0;
  switch (filter) {
    case 0:
      std::memcpy(out, in, static_cast<std::size_t>(count));
      return true;
    case 1:
      for (; i < kStep; ++i) out[i] = in[i];
      for (; i < count; ++i) out[i] = sum(in[i], out[i - kStep]);
      return true;
    case 2:
      for (; i < count; ++i) out[i] = sum(in[i], up[i]);
      return true;
    case 3:
      for (; i < kStep; ++i) out[i] = sum(in[i], up[i] / 2);
      for (; i < count; ++i) out[i] = sum(in[i], (out[i - kStep] + up[i]) / 2);
      return true;
    case 4:
      for (; i < kStep; ++i) out[i] = sum(in[i], up[i]);
      while (i < count) {
        if (kStep == 1) i += repeat_left(in + i, up + i, out + i, count - i);
        if (i < count) out[i] = sum(in[i], paeth(out[i - kStep], up[i], up[i - kStep]));
        ++i;
      }
      return true;
    default:
      return false;
  }
}

}  // namespace

at::Tensor decode_plain_png(const Bytes& bytes, Decode decode) {
  PlainPng png;
  if (!parse(bytes, decode, png)) return {};
  const std::int64_t row = png.width * png.channels;
  thread_local std::vector<std::uint8_t> raw;
  raw.resize(static_cast<std::size_t>(png.height * (row + 1)));
  if (!inflate(png, raw)) return {};
  at::Tensor image = png.channels == 1
                         ? at::empty({png.height, png.width}, at::kByte)
                         : at::empty({png.height, png.width, png.channels}, at::kByte);
  const std::vector<std::uint8_t> nothing(static_cast<std::size_t>(row), 0);  // above the first row
  const std::uint8_t* up = nothing.data();
  const std::uint8_t* in = raw.data();
  auto* out = image.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t y = 0; y < png.height; ++y, in += row + 1, up = out, out += row) {
    const bool known = png.channels == 1 ? restore_row<1>(in[0], in + 1, up, out, row)
                                         : restore_row<3>(in[0], in + 1, up, out, row);
    if (!known) return {};
  }
  return image;
}

}  // namespace strata::io::detail
