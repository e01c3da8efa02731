#include "framework/data/collate.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "framework/base/error.hpp"
#include "framework/data/rows.hpp"

namespace strata::data {

namespace {

// Copies a picture's rows into its place of a channels-last batch, normalised if that was put off;
// what it leaves becomes 0.
void write_image(const at::Tensor& image, const Normalizing* normalizing, const at::Tensor& batch,
                 std::int64_t place) {
  const std::int64_t element = batch.element_size();
  const std::int64_t channels = batch.size(1), height = batch.size(2), width = batch.size(3);
  const auto row = static_cast<std::size_t>(width * channels * element);
  const auto used = static_cast<std::size_t>(image.size(1) * channels * element);
  const auto* in = static_cast<const std::uint8_t*>(image.const_data_ptr());
  auto* out = static_cast<std::uint8_t*>(batch.mutable_data_ptr()) +
              static_cast<std::size_t>(place * height) * row;
  for (std::int64_t y = 0; y < height; ++y, out += row) {
    const bool inside = y < image.size(0);
    if (inside && normalizing != nullptr) {
      normalize_row(image, y, *normalizing, reinterpret_cast<float*>(out));
    } else if (inside) {
      std::memcpy(out, in + y * image.stride(0) * element, used);
    }
    std::memset(inside ? out + used : out, 0, inside ? row - used : row);
  }
}

void write_label(const at::Tensor& map, const at::Tensor& batch, std::int64_t place,
                 std::int64_t ignore_index) {
  const std::int64_t height = batch.size(1), width = batch.size(2);
  const auto* in = map.const_data_ptr<std::uint8_t>();
  auto* out = batch.mutable_data_ptr<std::int64_t>() + place * height * width;
  for (std::int64_t y = 0; y < height; ++y, out += width) {
    const std::int64_t used = y < map.size(0) ? map.size(1) : 0;
    const auto* row = in + y * map.stride(0);
    widen_row(row, out, used);
    std::fill(out + used, out + width, ignore_index);
  }
}

at::ScalarType type_of(const Sample& sample, std::size_t date) {
  return sample.put_off.normalizing ? at::kFloat : sample.images[date].scalar_type();
}

}  // namespace

bool Collation::fits(const Sample& sample) const {
  if (sample.preprocessed != batch_.preprocessed || sample.images.size() != batch_.images.size() ||
      sample.height() != batch_.height() || sample.width() != batch_.width() ||
      sample.targets.size() != batch_.targets.size()) {
    return false;
  }
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    if (sample.images[i].size(2) != batch_.images[i].size(1) ||
        type_of(sample, i) != batch_.images[i].scalar_type()) {
      return false;
    }
  }
  return true;
}

at::Tensor Collation::empty_images(std::int64_t channels, std::int64_t height, std::int64_t width,
                                   at::ScalarType type) const {
  return at::empty({static_cast<std::int64_t>(samples_), channels, height, width},
                   at::TensorOptions(type).pinned_memory(pinned_), at::MemoryFormat::ChannelsLast);
}

at::Tensor Collation::empty_labels(std::int64_t height, std::int64_t width) const {
  return at::empty({static_cast<std::int64_t>(samples_), label_side(height), label_side(width)},
                   at::TensorOptions(at::kLong).pinned_memory(pinned_));
}

std::int64_t Collation::label_side(std::int64_t side) const {
  return std::max<std::int64_t>(1, std::llround(static_cast<double>(side) * label_scale_));
}

void Collation::allocate(const Sample& like, std::int64_t height, std::int64_t width) {
  batch_.images.clear();
  batch_.preprocessed = like.preprocessed;
  label_scale_ = like.label_scale;
  for (std::size_t i = 0; i < like.images.size(); ++i) {
    batch_.images.push_back(
        empty_images(like.images[i].size(2), height, width, type_of(like, i)));
  }
  for (const auto& [name, target] : like.targets) {
    batch_.targets[name] = {empty_labels(height, width), *target.spec};
  }
}

void Collation::write(std::size_t place, const Sample& sample) {
  const auto n = static_cast<std::int64_t>(place);
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    write_image(sample.images[i], sample.put_off.normalizing.get(), batch_.images[i], n);
  }
  for (const auto& [name, target] : sample.targets) {
    const at::Tensor map =
        resize_label(target.map, label_side(target.map.size(0)), label_side(target.map.size(1)));
    write_label(map, batch_.targets.at(name).data, n, target.spec->ignore_index);
  }
}

void Collation::put(std::size_t place, Sample sample) {
  meta_[place] = std::move(sample.meta);
  {
    const std::lock_guard lock(mutex_);
    if (batch_.images.empty()) allocate(sample, sample.height(), sample.width());
    if (!fits(sample)) {
      kept_[place] = std::move(sample);
      return;
    }
  }
  write(place, sample);  // places do not overlap
}

// Moves what is written so far into larger tensors.
void Collation::enlarge(std::int64_t height, std::int64_t width) {
  const Batch old = std::move(batch_);
  batch_ = Batch{};
  batch_.preprocessed = old.preprocessed;
  for (const at::Tensor& image : old.images) {
    batch_.images.push_back(empty_images(image.size(1), height, width, image.scalar_type()));
  }
  for (const auto& [name, target] : old.targets) {
    batch_.targets[name] = {empty_labels(height, width), target.spec};
  }
  for (std::size_t n = 0; n < samples_; ++n) {
    if (kept_[n]) continue;
    const auto place = static_cast<std::int64_t>(n);
    for (std::size_t i = 0; i < old.images.size(); ++i) {
      // The picture n as [H, W, C].
      write_image(old.images[i].select(0, place).permute({1, 2, 0}), nullptr, batch_.images[i],
                  place);
    }
    for (const auto& [name, target] : old.targets) {
      const at::Tensor now = batch_.targets.at(name).data.select(0, place);
      now.fill_(target.spec.ignore_index);
      now.narrow(0, 0, target.data.size(1))
          .narrow(1, 0, target.data.size(2))
          .copy_(target.data.select(0, place));
    }
  }
}

Batch Collation::finish() {
  for (const std::exception_ptr& error : errors_) {
    if (error) std::rethrow_exception(error);
  }
  std::int64_t height = batch_.height(), width = batch_.width();
  for (std::size_t n = 0; n < samples_; ++n) {
    if (!kept_[n]) continue;
    if (kept_[n]->preprocessed != batch_.preprocessed) {
      throw DataError(meta_[n].paths.front() +
                      ": one of its batch's images is normalised, another is not; let Normalize "
                      "act on all of them");
    }
    for (std::size_t i = 0; i < kept_[n]->images.size(); ++i) {
      const at::Tensor &image = kept_[n]->images[i], &other = batch_.images[i];
      const at::ScalarType type = type_of(*kept_[n], i);
      if (image.size(2) == other.size(1) && type == other.scalar_type()) continue;
      auto what = [](std::int64_t channels, at::ScalarType depth) {
        return std::to_string(channels) + (depth == at::kByte ? " 8-bit" : " float") + " channels";
      };
      const std::size_t another = n == 0 ? samples_ - 1 : 0;
      throw DataError(meta_[n].paths[i] + ": image has " +
                      what(image.size(2), type) + ", but others of its batch (" +
                      meta_[another].paths[i] + ") have " +
                      what(other.size(1), other.scalar_type()) +
                      "; convert them to one kind or set color_type = \"color\"");
    }
    height = std::max(height, kept_[n]->height());
    width = std::max(width, kept_[n]->width());
  }
  if (height > batch_.height() || width > batch_.width()) enlarge(height, width);
  for (std::size_t n = 0; n < samples_; ++n) {
    if (kept_[n]) write(n, *kept_[n]);
  }
  batch_.meta = std::move(meta_);
  return std::move(batch_);
}

}  // namespace strata::data
