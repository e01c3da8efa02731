#include "framework/data/pixels.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <opencv2/imgproc.hpp>
#include <stdexcept>

#include "framework/data/mats.hpp"
#include "framework/data/rows.hpp"
#include "framework/io/image.hpp"

namespace strata::data {

namespace {

int channels_of(const at::Tensor& pixels) {
  return pixels.dim() == 2 ? 1 : static_cast<int>(pixels.size(2));
}

int interpolation_of(const std::string& name) {
  if (name == "bilinear") return cv::INTER_LINEAR;
  if (name == "nearest") return cv::INTER_NEAREST_EXACT;
  if (name == "bicubic") return cv::INTER_CUBIC;
  if (name == "area") return cv::INTER_AREA;
  throw std::logic_error("no interpolation named " + name);
}

}  // namespace

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

at::Tensor resize_image(const at::Tensor& image, std::int64_t height, std::int64_t width,
                        const std::string& interpolation) {
  if (image.size(0) == height && image.size(1) == width) return image;
  at::Tensor result = like(image, height, width);
  cv::Mat out = mat_of(result);
  cv::resize(mat_of(image), out, out.size(), 0, 0, interpolation_of(interpolation));
  return result;
}

at::Tensor resize_label(const at::Tensor& map, std::int64_t height, std::int64_t width) {
  if (map.size(0) == height && map.size(1) == width) return map;
  return resize_label_window(map, {height, width, 0, 0, height, width});
}

at::Tensor crop(const at::Tensor& pixels, std::int64_t top, std::int64_t left, std::int64_t height,
                std::int64_t width) {
  if (pixels.size(0) == height && pixels.size(1) == width) return pixels;
  return pixels.narrow(0, top, height).narrow(1, left, width);
}

at::Tensor flip(const at::Tensor& pixels, bool horizontal, bool vertical) {
  if (!horizontal && !vertical) return pixels;
  const std::int64_t height = pixels.size(0), width = pixels.size(1);
  at::Tensor result = like(pixels, height, width);
  const std::int64_t element = pixels.element_size(), pixel = channels_of(pixels) * element;
  const auto* in = static_cast<const std::uint8_t*>(pixels.const_data_ptr());
  auto* out = static_cast<std::uint8_t*>(result.mutable_data_ptr());
  for (std::int64_t y = 0; y < height; ++y, out += width * pixel) {
    const auto* row = in + (vertical ? height - 1 - y : y) * pixels.stride(0) * element;
    if (horizontal) {
      mirror_row(row, out, width, pixel);
    } else {
      std::memcpy(out, row, static_cast<std::size_t>(width * pixel));
    }
  }
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

at::Tensor pad_mirrored(const at::Tensor& pixels, std::int64_t height, std::int64_t width,
                        const std::string& mode) {
  if (pixels.size(0) == height && pixels.size(1) == width) return pixels;
  at::Tensor result = like(pixels, height, width);
  const std::int64_t from_height = pixels.size(0), from_width = pixels.size(1);
  // Which old place each new one shows: beyond the end the picture repeats or is mirrored, with
  // or without its last pixel twice, as often as it takes.
  auto source = [&mode](std::int64_t at, std::int64_t size) {
    if (mode == "edge" || size == 1) return std::min(at, size - 1);
    const std::int64_t period = mode == "reflect" ? 2 * size - 2 : 2 * size;
    at %= period;
    return at < size ? at : (mode == "reflect" ? period : period - 1) - at;
  };
  const std::int64_t step = channels_of(pixels) * pixels.element_size();
  const auto* in = static_cast<const std::uint8_t*>(pixels.const_data_ptr());
  auto* out = static_cast<std::uint8_t*>(result.mutable_data_ptr());
  for (std::int64_t y = 0; y < height; ++y, out += width * step) {
    const auto* row = in + source(y, from_height) * pixels.stride(0) * pixels.element_size();
    std::memcpy(out, row, static_cast<std::size_t>(from_width * step));
    for (std::int64_t x = from_width; x < width; ++x) {
      std::memcpy(out + x * step, row + source(x, from_width) * step,
                  static_cast<std::size_t>(step));
    }
  }
  return result;
}

at::Tensor warp(const at::Tensor& pixels, const Affine& affine, std::int64_t height,
                std::int64_t width, const std::string& interpolation,
                const std::vector<double>& fill) {
  at::Tensor result = like(pixels, height, width);
  const int flags = interpolation == "nearest"   ? cv::INTER_NEAREST
                    : interpolation == "bicubic" ? cv::INTER_CUBIC
                                                 : cv::INTER_LINEAR;
  const cv::Mat matrix(2, 3, CV_64F, const_cast<double*>(affine.data()));
  const cv::Mat in = mat_of(pixels);
  cv::Mat out = mat_of(result);
  const int channels = in.channels();
  auto value = [&](int c) { return fill[fill.size() == 1 ? 0 : static_cast<std::size_t>(c)]; };
  if (channels <= 4) {  // more than a cv::Scalar holds values for are warped one by one
    cv::Scalar border;
    for (int c = 0; c < channels; ++c) border[c] = value(c);
    cv::warpAffine(in, out, matrix, out.size(), flags, cv::BORDER_CONSTANT, border);
    return result;
  }
  cv::Mat plane, warped;
  for (int c = 0; c < channels; ++c) {
    cv::extractChannel(in, plane, c);
    cv::warpAffine(plane, warped, matrix, out.size(), flags, cv::BORDER_CONSTANT,
                   cv::Scalar::all(value(c)));
    cv::insertChannel(warped, out, c);
  }
  return result;
}

void normalize_row(const at::Tensor& image, std::int64_t y, const Normalizing& by, float* out) {
  if (image.scalar_type() == at::kByte) {
    normalize_row(image.const_data_ptr<std::uint8_t>() + y * image.stride(0), out, image.size(1),
                  by);
  } else {
    normalize_row(image.const_data_ptr<float>() + y * image.stride(0), out, image.size(1), by);
  }
}

at::Tensor normalize(const at::Tensor& image, const Normalizing& by) {
  at::Tensor result = at::empty(image.sizes(), at::kFloat);
  auto* out = result.mutable_data_ptr<float>();
  for (std::int64_t y = 0; y < image.size(0); ++y, out += result.stride(0)) {
    normalize_row(image, y, by, out);
  }
  return result;
}

Table identity_table() {
  Table table;
  for (std::size_t v = 0; v < table.size(); ++v) table[v] = static_cast<std::uint8_t>(v);
  return table;
}

at::Tensor look_up(const at::Tensor& pixels, const Table& table) {
  at::Tensor result = like(pixels);
  const std::int64_t row = pixels.size(1) * channels_of(pixels);
  auto* out = result.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t y = 0; y < pixels.size(0); ++y, out += row) {
    const auto* in = pixels.const_data_ptr<std::uint8_t>() + y * pixels.stride(0);
    for (std::int64_t i = 0; i < row; ++i) out[i] = table[in[i]];
  }
  return result;
}

}  // namespace strata::data
