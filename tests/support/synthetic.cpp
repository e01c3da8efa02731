#include "tests/support/synthetic.hpp"

#include <ATen/ATen.h>

#include "framework/base/philox.hpp"

namespace strata::tests {

Batch synthetic_batch(const LabelSpecs& labels, std::int64_t dates, std::int64_t channels,
                      std::int64_t samples, std::int64_t height, std::int64_t width,
                      std::uint64_t seed) {
  Batch batch;
  std::uint64_t stream = 0;
  for (std::int64_t date = 0; date < dates; ++date) {
    at::Tensor images = at::empty({samples, channels, height, width}, at::kByte);
    Philox random(seed, stream++);
    auto* bytes = images.mutable_data_ptr<std::uint8_t>();
    for (std::int64_t i = 0; i < images.numel(); ++i) bytes[i] = random.next_u32() & 255;
    batch.images.push_back(images);
  }
  for (const LabelSpec& label : labels.all()) {
    at::Tensor map = at::empty({samples, height, width}, at::kLong);
    Philox random(seed, stream++);
    auto* classes = map.mutable_data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < map.numel(); ++i) {
      classes[i] = random.next_u32() % 10 == 0
                       ? label.ignore_index
                       : static_cast<std::int64_t>(random.next_u32() % label.classes.size());
    }
    batch.targets[label.name] = {map, label};
  }
  for (std::int64_t n = 0; n < samples; ++n) {
    SampleMeta meta;
    meta.name = std::to_string(n);
    meta.height = meta.original_height = height;
    meta.width = meta.original_width = width;
    batch.meta.push_back(meta);
  }
  return batch;
}

}  // namespace strata::tests
