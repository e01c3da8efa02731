#include "framework/data/pixels.hpp"

#include <ATen/ops/empty.h>

#include <cstring>
#include <opencv2/imgproc.hpp>
#include <stdexcept>

#include "framework/io/image.hpp"

namespace strata::data {

namespace {

int channels_of(const at::Tensor& pixels) {
  return pixels.dim() == 2 ? 1 : static_cast<int>(pixels.size(2));
}

// The tensor's memory as OpenCV sees it; nothing is copied.
cv::Mat mat_of(const at::Tensor& pixels) {
  const int depth = pixels.scalar_type() == at::kByte ? CV_8U : CV_32F;
  return cv::Mat(static_cast<int>(pixels.size(0)), static_cast<int>(pixels.size(1)),
                 CV_MAKETYPE(depth, channels_of(pixels)),
                 const_cast<void*>(pixels.const_data_ptr()),
                 static_cast<std::size_t>(pixels.stride(0)) * pixels.element_size());
}

at::Tensor like(const at::Tensor& pixels, std::int64_t height, std::int64_t width) {
  io::quiet_opencv();
  if (pixels.dim() == 2) return at::empty({height, width}, pixels.options());
  return at::empty({height, width, pixels.size(2)}, pixels.options());
}

int interpolation_of(const std::string& name) {
  if (name == "bilinear") return cv::INTER_LINEAR;
  if (name == "nearest") return cv::INTER_NEAREST_EXACT;
  if (name == "bicubic") return cv::INTER_CUBIC;
  if (name == "area") return cv::INTER_AREA;
  throw std::logic_error("no interpolation named " + name);
}

}  // namespace

at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width,
                        const std::string& interpolation) {
  if (image.size(0) == height && image.size(1) == width) return image;
  at::Tensor result = like(image, height, width);
  cv::Mat out = mat_of(result);
  cv::resize(mat_of(image), out, out.size(), 0, 0, interpolation_of(interpolation));
  return result;
}

at::Tensor resize_label(const at::Tensor& map, std::int64_t height, std::int64_t width) {
  const std::int64_t from_height = map.size(0), from_width = map.size(1);
  if (from_height == height && from_width == width) return map;
  at::Tensor result = like(map, height, width);
  std::vector<std::int64_t> column(static_cast<std::size_t>(width));
  for (std::int64_t x = 0; x < width; ++x) {
    column[static_cast<std::size_t>(x)] = (2 * x + 1) * from_width / (2 * width);
  }
  const auto* in = map.const_data_ptr<std::uint8_t>();
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  std::int64_t last = -1;
  for (std::int64_t y = 0; y < height; ++y, out += width) {
    const std::int64_t row = (2 * y + 1) * from_height / (2 * height);
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

at::Tensor crop(const at::Tensor& pixels, std::int64_t top, std::int64_t left, std::int64_t height,
                std::int64_t width) {
  if (pixels.size(0) == height && pixels.size(1) == width) return pixels;
  return pixels.narrow(0, top, height).narrow(1, left, width);
}

at::Tensor flip(const at::Tensor& pixels, bool horizontal, bool vertical) {
  if (!horizontal && !vertical) return pixels;
  at::Tensor result = like(pixels, pixels.size(0), pixels.size(1));
  cv::Mat out = mat_of(result);
  cv::flip(mat_of(pixels), out, horizontal ? (vertical ? -1 : 1) : 0);
  return result;
}

at::Tensor rotate90(const at::Tensor& pixels, std::int64_t quarters) {
  quarters = ((quarters % 4) + 4) % 4;
  if (quarters == 0) return pixels;
  const bool turned = quarters != 2;
  at::Tensor result = like(pixels, pixels.size(turned ? 1 : 0), pixels.size(turned ? 0 : 1));
  cv::Mat out = mat_of(result);
  cv::rotate(mat_of(pixels), out,
             quarters == 1   ? cv::ROTATE_90_COUNTERCLOCKWISE
             : quarters == 2 ? cv::ROTATE_180
                             : cv::ROTATE_90_CLOCKWISE);
  return result;
}

at::Tensor pad(const at::Tensor& pixels, std::int64_t height, std::int64_t width,
               const std::vector<double>& value) {
  if (pixels.size(0) == height && pixels.size(1) == width) return pixels;
  at::Tensor result = like(pixels, height, width);
  const std::int64_t channels = channels_of(pixels), element = pixels.element_size();
  // One filled row, then copies of it and of the picture's rows.
  std::vector<std::uint8_t> row(static_cast<std::size_t>(width * channels * element));
  for (std::int64_t i = 0; i < width * channels; ++i) {
    const double fill =
        value.size() == 1 ? value[0] : value[static_cast<std::size_t>(i % channels)];
    if (element == 1) {
      row[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(fill);
    } else {
      const auto real = static_cast<float>(fill);
      std::memcpy(row.data() + i * element, &real, sizeof(real));
    }
  }
  const auto* in = static_cast<const std::uint8_t*>(pixels.const_data_ptr());
  auto* out = static_cast<std::uint8_t*>(result.mutable_data_ptr());
  const auto used = static_cast<std::size_t>(pixels.size(1) * channels * element);
  for (std::int64_t y = 0; y < height; ++y, out += row.size()) {
    if (y < pixels.size(0)) {
      std::memcpy(out, in + y * pixels.stride(0) * element, used);
      std::memcpy(out + used, row.data() + used, row.size() - used);
    } else {
      std::memcpy(out, row.data(), row.size());
    }
  }
  return result;
}

}  // namespace strata::data
