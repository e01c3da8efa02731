// Label maps and pictures as files: PNG and JPEG by our own decoders. Other formats are OpenCV's to
// decode, whose code is not what is looked at here.
#include <libdeflate.h>

#include "tests/fuzz/labels.hpp"

namespace strata::fuzz {

namespace {

// Almost no changed file would come past the checksums of its chunks: they are made right.
void mend_checksums(std::string& png) {
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(png[at + i]);
    return value;
  };
  constexpr std::size_t kFrame = 12;
  for (std::size_t at = 8; at + kFrame <= png.size();) {
    const std::size_t length = word(at);
    if (length > png.size() - at - kFrame) return;
    const std::uint32_t crc = libdeflate_crc32(0, png.data() + at + 4, length + 4);
    for (std::size_t i = 0; i < 4; ++i) {
      png[at + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    }
    at += kFrame + length;
  }
}

}  // namespace

int label(const std::uint8_t* data, std::size_t size) {
  const bool png = size > 8 && data[0] == 0x89 && data[1] == 'P';
  const bool jpeg = size > 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff;
  if (!png && !jpeg) return -1;
  std::string file(reinterpret_cast<const char*>(data), size);
  if (png && size % 4 != 0) mend_checksums(file);
  read_labels(file.data(), file.size());
  return 0;
}

}  // namespace strata::fuzz
