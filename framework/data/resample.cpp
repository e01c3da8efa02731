// Resizing of which only a window is wanted: a crop of an enlarged picture needs a small part of
// it, of the file too.
#include <ATen/ops/empty.h>

#include <array>
#include <cstring>

#include "framework/data/pixels.hpp"
#include "framework/data/rows.hpp"

namespace strata::data {

namespace {

// The picture between these rows and columns.
at::Tensor stretched_between(const at::Tensor& image, const Axis& rows, const Axis& columns) {
  const auto height = static_cast<std::int64_t>(rows.low.size());
  const auto width = static_cast<std::int64_t>(columns.low.size());
  const std::int64_t channels = image.size(2), count = width * channels;
  at::Tensor result = at::empty({height, width, channels}, at::kByte);
  // The last two old rows that were stretched: new ones mostly lie between the same.
  constexpr std::int64_t kMargin = 8;
  thread_local std::vector<std::int16_t> buffer;
  buffer.resize(static_cast<std::size_t>(2 * (count + kMargin)));
  const std::array<std::int16_t*, 2> stretched = {buffer.data(), buffer.data() + count + kMargin};
  std::array<std::int64_t, 2> held = {-1, -1};
  auto slot_of = [&](std::int64_t y, std::size_t keep) {
    for (std::size_t k = 0; k < 2; ++k) {
      if (held[k] == y) return k;
    }
    const std::size_t slot = 1 - keep;
    held[slot] = y;
    stretch_row(image.const_data_ptr<std::uint8_t>() + y * image.stride(0), image.size(1), channels,
                columns, stretched[slot]);
    return slot;
  };
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  for (std::size_t y = 0; y < rows.low.size(); ++y, out += count) {
    // What is wanted below must not be overwritten by what is wanted above.
    const std::size_t above = slot_of(rows.low[y], held[0] == rows.high[y] ? 0 : 1);
    const std::size_t below = slot_of(rows.high[y], above);
    blend_rows(stretched[above], stretched[below], rows.weight[y], out, count);
  }
  return result;
}

}  // namespace

at::Tensor resize_window(const io::LazyImage& image, const Window& window,
                         const std::string& interpolation) {
  const auto [full_height, full_width, top, left, height, width] = window;
  const std::int64_t from_height = image.height(), from_width = image.width();
  if (from_height == full_height && from_width == full_width) {
    return image.part({top, left, height, width});
  }
  // OpenCV's rule for bilinear 8-bit pictures, except that it halves them as "area" does.
  const bool halved = from_height == 2 * full_height && from_width == 2 * full_width;
  if (interpolation == "bilinear" && !halved) {
    Axis rows(from_height, full_height, top, height);
    Axis columns(from_width, full_width, left, width);
    const io::Area area{rows.low.front(), columns.low.front(),
                        rows.high.back() - rows.low.front() + 1,
                        columns.high.back() - columns.low.front() + 1};
    const at::Tensor part = image.part(area);
    if (part.scalar_type() == at::kByte) {
      rows.shift(area.top);
      columns.shift(area.left);
      return stretched_between(part, rows, columns);
    }
  }
  return crop(resize_image(image.whole(), full_height, full_width, interpolation), top, left,
              height, width);
}

at::Tensor resize_label_window(const at::Tensor& map, const Window& window) {
  const auto [full_height, full_width, top, left, height, width] = window;
  const std::int64_t from_height = map.size(0), from_width = map.size(1);
  at::Tensor result = at::empty({height, width}, at::kByte);
  std::vector<std::int32_t> column(static_cast<std::size_t>(width));
  for (std::int64_t x = 0; x < width; ++x) {
    column[static_cast<std::size_t>(x)] =
        static_cast<std::int32_t>((2 * (left + x) + 1) * from_width / (2 * full_width));
  }
  const auto* in = map.const_data_ptr<std::uint8_t>();
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  std::int64_t last = -1;
  for (std::int64_t y = 0; y < height; ++y, out += width) {
    const std::int64_t row = (2 * (top + y) + 1) * from_height / (2 * full_height);
    if (row == last) {
      std::memcpy(out, out - width, static_cast<std::size_t>(width));
      continue;
    }
    last = row;
    const auto* line = in + row * map.stride(0);
    for (std::size_t x = 0; x < column.size(); ++x) out[x] = line[column[x]];
  }
  return result;
}

}  // namespace strata::data
