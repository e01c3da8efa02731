#include "framework/inference/serving.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "framework/inference/merge.hpp"

namespace strata::inference {

Batch to_device(const Batch& batch, c10::Device device, bool channels_last) {
  Batch moved = batch;
  const auto format = channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  for (at::Tensor& images : moved.images) {
    images = images.to(device, images.scalar_type(), /*non_blocking=*/true).contiguous(format);
  }
  for (auto& [name, target] : moved.targets) target.data = target.data.to(device, true);
  return moved;
}

void place(torch::nn::Module& model, c10::Device device, bool channels_last) {
  model.to(device);
  if (!channels_last) return;
  at::NoGradGuard no_grad;
  for (at::Tensor& parameter : model.parameters()) {
    if (parameter.dim() == 4) {
      parameter.set_data(parameter.contiguous(at::MemoryFormat::ChannelsLast));
    }
  }
}

Outputs restore(const Outputs& outputs, const Batch& batch, std::int64_t n) {
  const SampleMeta& meta = batch.meta.at(n);
  Outputs restored;
  for (const auto& [name, output] : outputs) {
    Output one = output;
    const bool is_label = output.kind == Output::Kind::label;
    at::Tensor maps = output.data.narrow(0, n, 1);
    const std::int64_t vertical = is_label ? 1 : 2;
    maps = maps.narrow(vertical, 0, meta.height).narrow(vertical + 1, 0, meta.width);
    one.data = maps;
    one = resized(std::move(one), meta.original_height, meta.original_width);
    restored.emplace_back(name, std::move(one));
  }
  return restored;
}

}  // namespace strata::inference
