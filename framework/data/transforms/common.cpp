#include "framework/data/transforms/common.hpp"

#include <algorithm>

namespace strata::data {

void plan_resize(Sample& sample, std::int64_t height, std::int64_t width,
                 const std::string& interpolation) {
  const std::int64_t from_height = sample.height(), from_width = sample.width();
  sample.put_off.resizing = {height, width, interpolation};
  sample.meta.height = std::max<std::int64_t>(1, sample.meta.height * height / from_height);
  sample.meta.width = std::max<std::int64_t>(1, sample.meta.width * width / from_width);
}

void resize_sample(Sample& sample, std::int64_t height, std::int64_t width,
                   const std::string& interpolation) {
  settle(sample);
  plan_resize(sample, height, width, interpolation);
  settle(sample);
}

void crop_sample(Sample& sample, std::int64_t top, std::int64_t left, std::int64_t height,
                 std::int64_t width) {
  auto& [files, resizing, normalizing] = sample.put_off;
  std::vector<io::LazyImage> images = std::move(files);
  if (images.empty()) images.assign(sample.images.begin(), sample.images.end());
  files.clear();
  sample.images.clear();
  if (resizing) {
    const Window window{resizing->height, resizing->width, top, left, height, width};
    for (const io::LazyImage& image : images) {
      sample.images.push_back(resize_window(image, window, resizing->interpolation));
    }
    for (auto& [name, target] : sample.targets) {
      target.map = resize_label_window(target.map, window);
    }
    resizing.reset();
  } else {
    for (const io::LazyImage& image : images) {
      sample.images.push_back(image.part({top, left, height, width}));
    }
    for (auto& [name, target] : sample.targets) {
      target.map = crop(target.map, top, left, height, width);
    }
  }
  sample.meta.height = std::clamp<std::int64_t>(sample.meta.height - top, 0, height);
  sample.meta.width = std::clamp<std::int64_t>(sample.meta.width - left, 0, width);
}

void pad_sample(Sample& sample, std::int64_t height, std::int64_t width,
                const std::vector<double>& value) {
  check_fill(sample, value);
  for (at::Tensor& image : sample.images) image = pad(image, height, width, value);
  for (auto& [name, target] : sample.targets) {
    target.map = pad(target.map, height, width, {static_cast<double>(target.spec->ignore_index)});
  }
}

void whole_area_valid(Sample& sample) {
  sample.meta.height = sample.height();
  sample.meta.width = sample.width();
}

PixelSize keep_ratio_size(std::int64_t from_height, std::int64_t from_width, double height,
                          double width) {
  const auto longer = static_cast<double>(std::max(from_height, from_width));
  const auto shorter = static_cast<double>(std::min(from_height, from_width));
  const double factor =
      std::min(std::max(height, width) / longer, std::min(height, width) / shorter);
  auto scaled = [&](std::int64_t side) {
    const double exact = static_cast<double>(side) * factor;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(exact + 0.5));
  };
  return {scaled(from_height), scaled(from_width)};
}

}  // namespace strata::data
