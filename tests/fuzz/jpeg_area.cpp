// Areas of JPEG files, which are decoded as far as is asked: each must be what lies there in the
// whole picture. The last four bytes of the input say where the area is.
#include <ATen/ops/equal.h>

#include "framework/io/image.hpp"
#include "tests/fuzz/target.hpp"

namespace strata::fuzz {

int jpeg_area(const std::uint8_t* data, std::size_t size) {
  if (size < 8 || data[0] != 0xff || data[1] != 0xd8 || data[2] != 0xff) return -1;
  const std::uint8_t* place = data + size - 4;
  std::string file(reinterpret_cast<const char*>(data), size - 4);
  // A file without its last marker is decoded as a whole at once.
  if (place[0] % 8 != 0) file += "\xff\xd9";
  const std::string& path = as_file(file.data(), file.size());
  run(path, [&] {
    const io::LazyImage image(path, place[1] % 2 != 0 ? io::Channels::rgb
                                                      : io::Channels::as_stored);
    const auto stretch = [](std::int64_t all, std::uint8_t begin, std::uint8_t length) {
      const std::int64_t from = all * begin / 256;
      return std::pair{from, 1 + (all - from - 1) * length / 255};
    };
    const auto [top, height] = stretch(image.height(), place[0], place[2]);
    const auto [left, width] = stretch(image.width(), place[1], place[3]);
    const io::Area area{top, left, height, width};
    at::Tensor part;
    // A damaged file may be refused or, where the damage lies elsewhere, not.
    run(path, [&] { part = image.part(area); });
    const at::Tensor whole = image.whole();
    require(part.defined(), "an area of a whole picture was refused");
    require(at::equal(part, whole.narrow(0, top, height).narrow(1, left, width)),
            "an area differs from what lies there");
  });
  return 0;
}

}  // namespace strata::fuzz
