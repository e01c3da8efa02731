#include "framework/data/dataset.hpp"
#include "framework/data/pixels.hpp"
#include "framework/data/sampler.hpp"
#include "framework/data/transform.hpp"

namespace strata {

Dataset::~Dataset() = default;
Sampler::~Sampler() = default;
Transform::~Transform() = default;

std::map<std::string, SampleTarget> Dataset::read_targets(std::int64_t index) const {
  return read(index).targets;
}

std::string Dataset::target_state(std::int64_t) const { return ""; }

void Transform::mix(Sample& sample, Philox& random, const Another&) const { apply(sample, random); }

void settle(Sample& sample) {
  settle_geometry(sample);
  if (!sample.put_off.normalizing) return;
  for (at::Tensor& image : sample.images) {
    image = data::normalize(image, *sample.put_off.normalizing);
  }
  sample.put_off.normalizing.reset();
}

void settle_geometry(Sample& sample) {
  auto& [files, resizing, normalizing] = sample.put_off;
  for (const io::LazyImage& file : files) sample.images.push_back(file.whole());
  files.clear();
  if (!resizing) return;
  const Sample::Resizing to = std::move(*resizing);
  resizing.reset();
  for (at::Tensor& image : sample.images) {
    image = data::resize_image(image, to.height, to.width, to.interpolation);
  }
  for (auto& [name, target] : sample.targets) {
    target.map = data::resize_label(target.map, to.height, to.width);
  }
}

namespace {

void apply_next(const Transform& transform, Sample& sample, Philox& random,
                const Transform::Another& another) {
  // Values that are to be normalised wait for the batch's memory only, not for a transform.
  if (!transform.takes_unsettled() || sample.put_off.normalizing) settle(sample);
  transform.mix(sample, random, another);
}

}  // namespace

void run_transforms(const std::vector<std::shared_ptr<const Transform>>& transforms, Sample& sample,
                    Philox& random, const Transform::Another& another) {
  for (const auto& transform : transforms) apply_next(*transform, sample, random, another);
}

Sample draw_sample(const Dataset& dataset, std::int64_t index,
                   const std::vector<std::shared_ptr<const Transform>>& transforms,
                   std::size_t count, Philox& random) {
  Sample sample = dataset.open(index);
  for (std::size_t i = 0; i < count; ++i) {
    apply_next(*transforms[i], sample, random, [&, i] {
      Sample other =
          draw_sample(dataset, random.integer(0, dataset.size() - 1), transforms, i, random);
      settle(other);
      return other;
    });
  }
  settle_geometry(sample);
  return sample;
}

}  // namespace strata
