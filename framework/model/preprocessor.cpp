#include "framework/model/preprocessor.hpp"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>

namespace strata {

namespace {

const std::vector<double> kImageNetMean = {123.675, 116.28, 103.53};
const std::vector<double> kImageNetStd = {58.395, 57.12, 57.375};

std::vector<double> per_channel(const std::string& key,
                                const std::optional<std::vector<double>>& written,
                                std::int64_t channels, const std::vector<double>& of_rgb,
                                double otherwise) {
  const auto count = static_cast<std::size_t>(channels);
  if (!written) return count == 3 ? of_rgb : std::vector<double>(count, otherwise);
  if (written->size() != count) {
    throw OptionError("preprocessor." + key,
                      fmt::format("needs one value for each of the {} image channels, got {}",
                                  channels, written->size()));
  }
  return *written;
}

// One pass from bytes in any layout to normalised channels-last rows. 256 values a channel: a table
// holds every result, rounded exactly as subtraction and division round.
template <class T>
void normalize_bytes(const at::Tensor& image, const DeviceValues& mean, const DeviceValues& std,
                     at::Tensor out) {
  const std::int64_t channels = image.size(1), height = image.size(2), width = image.size(3);
  const std::int64_t out_height = out.size(2), out_width = out.size(3);
  std::vector<T> table(static_cast<std::size_t>(channels) * 256);
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto channel = static_cast<std::size_t>(c);
    for (std::size_t v = 0; v < 256; ++v) {
      table[channel * 256 + v] =
          (static_cast<T>(v) - static_cast<T>(mean[channel])) / static_cast<T>(std[channel]);
    }
  }
  const std::uint8_t* source = image.const_data_ptr<std::uint8_t>();
  T* target = out.mutable_data_ptr<T>();
  const auto strides = image.strides();
  const std::int64_t grain = std::max<std::int64_t>(1, 32768 / (out_width * channels));
  at::parallel_for(0, image.size(0) * out_height, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      T* to = target + row * out_width * channels;
      const std::int64_t y = row % out_height;
      if (y >= height) {
        std::fill(to, to + out_width * channels, T(0));
        continue;
      }
      const std::uint8_t* from = source + (row / out_height) * strides[0] + y * strides[2];
      for (std::int64_t x = 0; x < width; ++x) {
        for (std::int64_t c = 0; c < channels; ++c) {
          to[x * channels + c] =
              table[static_cast<std::size_t>(c * 256) + from[x * strides[3] + c * strides[1]]];
        }
      }
      std::fill(to + width * channels, to + out_width * channels, T(0));
    }
  });
}

}  // namespace

Preprocessor::Preprocessor(const PreprocessorOptions& options, std::int64_t channels)
    : mean_(per_channel("mean", options.mean, channels, kImageNetMean, 0.0)),
      std_(per_channel("std", options.std, channels, kImageNetStd, 255.0)),
      divisor_(options.size_divisor) {}

std::int64_t Preprocessor::padded(std::int64_t size) const {
  return (size + divisor_ - 1) / divisor_ * divisor_;
}

at::Tensor Preprocessor::operator()(const std::vector<at::Tensor>& images, at::ScalarType dtype,
                                    at::Device device, bool preprocessed) const {
  const at::Tensor& first = images.front();
  const auto channels = static_cast<std::int64_t>(mean_.size());
  for (const at::Tensor& image : images) {
    if (image.size(1) != channels) {
      throw DataError(
          fmt::format("images have {} channels, but the model takes {}; see "
                      "data.channels and model.preprocessor",
                      image.size(1), channels));
    }
    if (image.sizes() != first.sizes()) {
      throw DataError(fmt::format("the dates of a batch differ in size: {} x {} and {} x {}",
                                  first.size(2), first.size(3), image.size(2), image.size(3)));
    }
  }
  const std::int64_t n = first.size(0), height = first.size(2), width = first.size(3);
  const auto dates = static_cast<std::int64_t>(images.size());
  const auto options = at::TensorOptions().dtype(dtype).device(device);
  at::Tensor out = at::empty({dates * n, channels, padded(height), padded(width)}, options,
                             at::MemoryFormat::ChannelsLast);
  const bool bytes = !preprocessed && first.scalar_type() == at::kByte && device.is_cpu();
  if (!bytes && (out.size(2) != height || out.size(3) != width)) out.zero_();
  for (std::int64_t d = 0; d < dates; ++d) {
    const at::Tensor image = images[static_cast<std::size_t>(d)].to(device);
    at::Tensor rows = out.narrow(0, d * n, n);
    if (bytes && (dtype == at::kFloat || dtype == at::kDouble)) {
      if (dtype == at::kFloat)
        normalize_bytes<float>(image, mean_, std_, rows);
      else
        normalize_bytes<double>(image, mean_, std_, rows);
      continue;
    }
    if (preprocessed) {
      rows.narrow(2, 0, height).narrow(3, 0, width).copy_(image);
      continue;
    }
    const auto wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
    const at::Tensor values = image.to(wide);
    rows.narrow(2, 0, height)
        .narrow(3, 0, width)
        .copy_((values - mean_.on(values).view({1, -1, 1, 1})) /
               std_.on(values).view({1, -1, 1, 1}));
  }
  return out;
}

at::Tensor Preprocessor::padded_target(const Batch& batch, const std::string& name) const {
  const std::int64_t height = batch.height(), width = batch.width();
  const Target& target = batch.targets.at(name);
  if (padded(height) == height && padded(width) == width) return target.data;
  // A label map may have a share of the images' size (SegRescale).
  const std::int64_t bottom = padded(height) * target.data.size(1) / height - target.data.size(1);
  const std::int64_t right = padded(width) * target.data.size(2) / width - target.data.size(2);
  return at::constant_pad_nd(target.data, {0, right, 0, bottom}, target.spec.ignore_index);
}

Batch Preprocessor::pad_targets(const Batch& batch) const {
  Batch result = batch;
  for (auto& [name, target] : result.targets) target.data = padded_target(batch, name);
  return result;
}

}  // namespace strata
