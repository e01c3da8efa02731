#include "framework/inference/predictor.hpp"

#include <ATen/ATen.h>

#include <algorithm>

#include "framework/inference/serving.hpp"
#include "framework/inference/views.hpp"

namespace strata::inference {
namespace {

Predict whole(const Member& member) {
  return [&member](const Batch& batch) {
    const nn::FoldCache::Use use(member.folds.get());
    return member.model->predict(
        to_device(batch, member.placement.device, member.placement.channels_last));
  };
}

bool fills(const Batch& batch) {
  return std::all_of(batch.meta.begin(), batch.meta.end(), [&](const SampleMeta& meta) {
    return meta.height == batch.height() && meta.width == batch.width();
  });
}

}  // namespace

Predictor::Predictor(std::vector<Member> members, LabelSpecs labels)
    : members_(std::move(members)), labels_(std::move(labels)) {}

Outputs Predictor::of_samples(const Member& member, const Batch& batch) const {
  const Predict at_once = whole(member);
  const Predict in_windows =
      member.inference.slides()
          ? [&](const Batch& each) { return slide(member.inference, each, at_once); }
          : at_once;
  if (!member.tta.enabled) return in_windows(batch);
  return with_views(member.tta, labels_, std::max(batch.size(), member.inference.window_batch),
                    batch, in_windows);
}

Outputs Predictor::of_member(const Member& member, const Batch& batch) const {
  const bool plain = !member.inference.slides() && !member.tta.enabled;
  if (plain || fills(batch)) return of_samples(member, batch);
  // Samples of several sizes: windows and views are those of each sample, not of its padding.
  Outputs all;
  for (std::int64_t n = 0; n < batch.size(); ++n) {
    Batch sample = part_of(batch, n, 1);
    const SampleMeta& meta = sample.meta.front();
    for (at::Tensor& images : sample.images) {
      images = images.narrow(2, 0, meta.height).narrow(3, 0, meta.width);
    }
    Outputs own = of_samples(member, sample);
    for (std::size_t i = 0; i < own.size(); ++i) {
      const at::Tensor& data = own[i].second.data;
      if (n == 0) {
        std::vector<std::int64_t> shape = data.sizes().vec();
        shape[0] = batch.size();
        shape[shape.size() - 2] = batch.height();
        shape[shape.size() - 1] = batch.width();
        all.push_back(own[i]);
        all[i].second.data = at::zeros(shape, data.options());
      }
      all[i]
          .second.data.narrow(0, n, 1)
          .narrow(-2, 0, meta.height)
          .narrow(-1, 0, meta.width)
          .copy_(data);
    }
  }
  return all;
}

Outputs Predictor::predict(const Batch& batch) const {
  if (members_.size() == 1) return of_member(members_.front(), batch);
  std::vector<Outputs> all;
  for (const Member& member : members_) all.push_back(of_member(member, batch));
  return average(all);
}

void Predictor::predict(std::int64_t height, std::int64_t width, const WindowSource& read,
                        const BlockSink& write) const {
  const Predict window = [&](const Batch& batch) {
    std::vector<Outputs> all;
    for (const Member& member : members_) {
      Member alone = member;
      alone.inference.mode = "whole";
      all.push_back(of_member(alone, batch));
    }
    return all.size() == 1 ? all.front() : average(all);
  };
  slide(members_.front().inference, height, width, read, window, write);
}

}  // namespace strata::inference
