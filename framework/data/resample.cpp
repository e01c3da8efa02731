// Resizing of which only a window is wanted: a crop of an enlarged picture needs a small part of
// it.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "framework/data/pixels.hpp"

namespace strata::data {

namespace {

constexpr int kBits = 11;  // of a weight's fraction, as in OpenCV

/// The two old pixels that each new one of a window lies between, and their weights in 1/2048.
struct Axis {
  Axis(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t count)
      : low(static_cast<std::size_t>(count)), high(low), weight(low.size()) {
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      auto place = static_cast<float>((static_cast<double>(first + i) + 0.5) * scale - 0.5);
      const auto before = static_cast<std::int64_t>(std::floor(place));
      place -= static_cast<float>(before);
      low[k] = std::clamp<std::int64_t>(before, 0, from - 1);
      high[k] = std::clamp<std::int64_t>(before + 1, 0, from - 1);
      constexpr float kOne = 1 << kBits;
      weight[k] = {static_cast<std::int16_t>(std::nearbyint((1 - place) * kOne)),
                   static_cast<std::int16_t>(std::nearbyint(place * kOne))};
    }
  }
  std::vector<std::int64_t> low, high;
  std::vector<std::array<std::int16_t, 2>> weight;
};

// One old row at the new columns, with 7 bits of fraction.
template <int kChannels>
void stretch_row(const std::uint8_t* row, const Axis& columns, std::int64_t channels,
                 std::int16_t* out) {
  const std::int64_t step = kChannels > 0 ? kChannels : channels;
  for (std::size_t x = 0; x < columns.low.size(); ++x) {
    const std::uint8_t* p = row + columns.low[x] * step;
    const std::uint8_t* q = row + columns.high[x] * step;
    const int a = columns.weight[x][0], b = columns.weight[x][1];
    for (std::int64_t c = 0; c < step; ++c) {
      *out++ = static_cast<std::int16_t>((p[c] * a + q[c] * b) >> 4);
    }
  }
}

void blend_rows(const std::int16_t* upper, const std::int16_t* lower,
                const std::array<std::int16_t, 2>& weight, std::uint8_t* out, std::int64_t count) {
  const int a = weight[0], b = weight[1];
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint8_t>((((a * upper[i]) >> 16) + ((b * lower[i]) >> 16) + 2) >> 2);
  }
}

at::Tensor stretch_window(const at::Tensor& image, const Window& window) {
  const auto [full_height, full_width, top, left, height, width] = window;
  const std::int64_t from_height = image.size(0), from_width = image.size(1);
  const std::int64_t channels = image.size(2), count = width * channels;
  const Axis rows(from_height, full_height, top, height);
  const Axis columns(from_width, full_width, left, width);
  at::Tensor result = at::empty({height, width, channels}, at::kByte);
  // The last two old rows that were stretched: new ones mostly lie between the same.
  thread_local std::vector<std::int16_t> buffer;
  buffer.resize(static_cast<std::size_t>(2 * count));
  std::array<std::int64_t, 2> held = {-1, -1};
  auto stretched = [&](std::int64_t y, std::size_t keep) {
    for (std::size_t k = 0; k < 2; ++k) {
      if (held[k] == y) return k;
    }
    const std::size_t slot = 1 - keep;
    held[slot] = y;
    auto* out = buffer.data() + static_cast<std::int64_t>(slot) * count;
    const auto* in = image.const_data_ptr<std::uint8_t>() + y * image.stride(0);
    if (channels == 3) {
      stretch_row<3>(in, columns, channels, out);
    } else {
      stretch_row<0>(in, columns, channels, out);
    }
    return slot;
  };
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y, out += count) {
    const std::int64_t above = rows.low[static_cast<std::size_t>(y)];
    const std::int64_t below = rows.high[static_cast<std::size_t>(y)];
    // What is wanted below must not be overwritten by what is wanted above.
    const std::size_t a = stretched(above, held[0] == below ? 0 : 1);
    const std::size_t b = stretched(below, a);
    blend_rows(buffer.data() + static_cast<std::int64_t>(a) * count,
               buffer.data() + static_cast<std::int64_t>(b) * count,
               rows.weight[static_cast<std::size_t>(y)], out, count);
  }
  return result;
}

}  // namespace

at::Tensor resize_window(const at::Tensor& image, const Window& window,
                         const std::string& interpolation) {
  const auto [full_height, full_width, top, left, height, width] = window;
  // OpenCV computes the whole with wider instructions: worth it unless most would be thrown away.
  // Its bilinear rule for 8 bits is that of stretch_window, except for halves.
  const bool part = 5 * height * width < 3 * full_height * full_width;
  const bool enlarged = full_height > image.size(0) && full_width > image.size(1);
  if (part && enlarged && interpolation == "bilinear" && image.scalar_type() == at::kByte) {
    return stretch_window(image, window);
  }
  return crop(resize_image(image, full_height, full_width, interpolation), top, left, height,
              width);
}

at::Tensor resize_label_window(const at::Tensor& map, const Window& window) {
  const auto [full_height, full_width, top, left, height, width] = window;
  const std::int64_t from_height = map.size(0), from_width = map.size(1);
  at::Tensor result = at::empty({height, width}, at::kByte);
  std::vector<std::int64_t> column(static_cast<std::size_t>(width));
  for (std::int64_t x = 0; x < width; ++x) {
    column[static_cast<std::size_t>(x)] = (2 * (left + x) + 1) * from_width / (2 * full_width);
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
    for (std::int64_t x = 0; x < width; ++x) out[x] = line[column[static_cast<std::size_t>(x)]];
  }
  return result;
}

}  // namespace strata::data
