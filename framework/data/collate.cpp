#include "framework/data/collate.hpp"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "framework/base/error.hpp"

namespace strata::data {

namespace {

// Copies a picture's rows into its place of a channels-last batch; what it leaves becomes 0.
void write_image(const at::Tensor& image, const at::Tensor& batch, std::int64_t place) {
  const std::int64_t element = image.element_size();
  const std::int64_t channels = batch.size(1), height = batch.size(2), width = batch.size(3);
  const auto row = static_cast<std::size_t>(width * channels * element);
  const auto used = static_cast<std::size_t>(image.size(1) * channels * element);
  const auto* in = static_cast<const std::uint8_t*>(image.const_data_ptr());
  auto* out = static_cast<std::uint8_t*>(batch.mutable_data_ptr()) +
              static_cast<std::size_t>(place * height) * row;
  for (std::int64_t y = 0; y < height; ++y, out += row) {
    const bool inside = y < image.size(0);
    if (inside) std::memcpy(out, in + y * image.stride(0) * element, used);
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
    for (std::int64_t x = 0; x < used; ++x) out[x] = row[x];
    std::fill(out + used, out + width, ignore_index);
  }
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
        sample.images[i].scalar_type() != batch_.images[i].scalar_type()) {
      return false;
    }
  }
  return true;
}

void Collation::allocate(const Sample& like, std::int64_t height, std::int64_t width) {
  const auto count = static_cast<std::int64_t>(samples_);
  batch_.images.clear();
  batch_.preprocessed = like.preprocessed;
  for (const at::Tensor& image : like.images) {
    batch_.images.push_back(at::empty({count, image.size(2), height, width},
                                      at::TensorOptions(image.scalar_type()),
                                      at::MemoryFormat::ChannelsLast));
  }
  for (const auto& [name, target] : like.targets) {
    batch_.targets[name] = {at::empty({count, height, width}, at::kLong), *target.spec};
  }
}

void Collation::write(std::size_t place, const Sample& sample) {
  const auto n = static_cast<std::int64_t>(place);
  for (std::size_t i = 0; i < sample.images.size(); ++i) {
    write_image(sample.images[i], batch_.images[i], n);
  }
  for (const auto& [name, target] : sample.targets) {
    write_label(target.map, batch_.targets.at(name).data, n, target.spec->ignore_index);
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
    batch_.images.push_back(at::empty({image.size(0), image.size(1), height, width},
                                      image.options(), at::MemoryFormat::ChannelsLast));
  }
  for (const auto& [name, target] : old.targets) {
    batch_.targets[name] = {at::empty({target.data.size(0), height, width}, at::kLong),
                            target.spec};
  }
  for (std::size_t n = 0; n < samples_; ++n) {
    if (kept_[n]) continue;
    const auto place = static_cast<std::int64_t>(n);
    for (std::size_t i = 0; i < old.images.size(); ++i) {
      // The picture n as [H, W, C].
      write_image(old.images[i].select(0, place).permute({1, 2, 0}), batch_.images[i], place);
    }
    for (const auto& [name, target] : old.targets) {
      const auto* in = target.data.const_data_ptr<std::int64_t>() +
                       place * target.data.size(1) * target.data.size(2);
      auto* out =
          batch_.targets.at(name).data.mutable_data_ptr<std::int64_t>() + place * height * width;
      for (std::int64_t y = 0; y < height; ++y, out += width) {
        const std::int64_t used = y < target.data.size(1) ? target.data.size(2) : 0;
        std::copy_n(in + y * target.data.size(2), used, out);
        std::fill(out + used, out + width, target.spec.ignore_index);
      }
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
      if (image.size(2) == other.size(1) && image.scalar_type() == other.scalar_type()) continue;
      auto what = [](std::int64_t channels, at::ScalarType type) {
        return std::to_string(channels) + (type == at::kByte ? " 8-bit" : " float") + " channels";
      };
      const std::size_t another = n == 0 ? samples_ - 1 : 0;
      throw DataError(meta_[n].paths[i] + ": image has " +
                      what(image.size(2), image.scalar_type()) + ", but others of its batch (" +
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
