// PNG files that are whole in their chunks and their compression: the input says what their header
// claims and what their rows hold.
#include <libdeflate.h>

#include <array>
#include <memory>

#include "tests/fuzz/labels.hpp"

namespace strata::fuzz {

namespace {

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string chunk(const std::string& name, const std::string& content) {
  const std::string both = name + content;
  return big_endian(static_cast<std::uint32_t>(content.size())) + both +
         big_endian(libdeflate_crc32(0, both.data(), both.size()));
}

std::string compressed(const std::string& bytes) {
  const std::unique_ptr<libdeflate_compressor, void (*)(libdeflate_compressor*)> packer(
      libdeflate_alloc_compressor(1), libdeflate_free_compressor);
  std::string out(libdeflate_zlib_compress_bound(packer.get(), bytes.size()), '\0');
  out.resize(
      libdeflate_zlib_compress(packer.get(), bytes.data(), bytes.size(), out.data(), out.size()));
  return out;
}

}  // namespace

int png(const std::uint8_t* data, std::size_t size) {
  // [kind, width, height, colours, transparent, parts] and the rows.
  constexpr std::size_t kHead = 6;
  if (size < kHead) return -1;
  struct Kind {
    char depth, colour;
  };
  constexpr std::array kKinds{Kind{8, 0},  Kind{8, 3},  Kind{8, 2},  Kind{1, 0}, Kind{2, 0},
                              Kind{4, 0},  Kind{16, 0}, Kind{1, 3},  Kind{2, 3}, Kind{4, 3},
                              Kind{16, 2}, Kind{8, 4},  Kind{16, 4}, Kind{8, 6}, Kind{16, 6}};
  const Kind kind = kKinds[data[0] % 16 % kKinds.size()];
  const bool interlaced = (data[0] & 0x10) != 0;
  std::string header = big_endian(data[1]) + big_endian(data[2]);
  if ((data[0] & 0x20) != 0) std::swap(header[2], header[3]);  // width times 256
  header += {kind.depth, kind.colour, 0, 0, static_cast<char>(interlaced)};

  std::string file = "\x89PNG\r\n\x1a\n" + chunk("IHDR", header);
  if (kind.colour == 3 || (data[0] & 0x40) != 0) {
    std::string colours;
    for (int i = 0; i <= data[3]; ++i) colours += {static_cast<char>(i), 7, static_cast<char>(-i)};
    file += chunk("PLTE", colours);
  }
  if (data[4] != 0) {
    const std::size_t count = kind.colour == 3 ? data[4] : kind.colour == 0 ? 2 : 6;
    file += chunk("tRNS", std::string(count, '\0'));
  }
  const std::string pixels =
      compressed(std::string(reinterpret_cast<const char*>(data) + kHead, size - kHead));
  const std::size_t part = data[5] == 0 ? pixels.size() : data[5];
  for (std::size_t at = 0; at < pixels.size(); at += part) {
    file += chunk("IDAT", pixels.substr(at, part));
  }
  file += chunk("IEND", "");
  read_labels(file.data(), file.size());
  return 0;
}

}  // namespace strata::fuzz
