#include "framework/inference/merge.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "framework/base/error.hpp"

namespace strata::inference {
namespace {

bool is_label(const Output& output) { return output.kind == Output::Kind::label; }

// Votes for classes that came up later than the first maps did.
at::Tensor with_planes(const at::Tensor& votes, std::int64_t classes) {
  if (votes.size(1) >= classes) return votes;
  return at::constant_pad_nd(votes, {0, 0, 0, 0, 0, classes - votes.size(1)});
}

const Output* counterpart(const Outputs& outputs, const std::string& name, const Output& of) {
  for (const auto& [other, output] : outputs) {
    const bool same = of.target.empty() ? other == name : output.target == of.target;
    if (same && (output.kind == Output::Kind::value) == (of.kind == Output::Kind::value)) {
      return &output;
    }
  }
  return nullptr;
}

}  // namespace

at::Tensor summands(const Output& output) {
  if (!is_label(output)) return output.data;
  const std::int64_t classes =
      output.data.numel() == 0 ? 1 : output.data.max().item<std::int64_t>() + 1;
  return at::one_hot(output.data, classes).permute({0, 3, 1, 2}).to(at::kFloat);
}

void Sum::add(const Output& output, const at::Tensor& weight) {
  at::Tensor part = summands(output);
  if (weight.defined()) part = part * weight;
  if (!data.defined()) {
    like_ = output;
    like_.data = at::Tensor();
    data = weight.defined() || is_label(output) ? part : part.clone();
    return;
  }
  if (is_label(output)) {
    data = with_planes(data, part.size(1));
    part = with_planes(part, data.size(1));
  }
  data.add_(part);
}

Output Sum::mean(const at::Tensor& total) const {
  Output output = like_;
  output.data = is_label(output) ? data.argmax(1) : data / total;
  return output;
}

Output Sum::mean(double total) const {
  Output output = like_;
  output.data = is_label(output) ? data.argmax(1) : data / total;
  return output;
}

Output as_probability(Output output) {
  if (output.kind != Output::Kind::logits) return output;
  output.data = probabilities(output);
  output.kind = Output::Kind::probability;
  return output;
}

Outputs average(const std::vector<Outputs>& all) {
  Outputs merged;
  for (const auto& [name, first] : all.front()) {
    Sum sum;
    for (const Outputs& outputs : all) {
      const Output* other = counterpart(outputs, name, first);
      const std::string what = first.target.empty() ? name : first.target;
      if (other == nullptr) {
        throw UserError("ensemble: " + what + ": one model predicts it, another does not");
      }
      const Output one = as_probability(*other);
      if (is_label(one) != is_label(first) ||
          (!is_label(one) && one.data.size(1) != first.data.size(1))) {
        throw UserError("ensemble: " + what +
                        ": models predict it in different forms (number of channels, or labels "
                        "beside probabilities), which have no mean");
      }
      sum.add(one);
    }
    merged.emplace_back(name, sum.mean(static_cast<double>(all.size())));
  }
  return merged;
}

Output resized(Output output, std::int64_t height, std::int64_t width) {
  if (output.data.size(-2) == height && output.data.size(-1) == width) return output;
  const std::array<std::int64_t, 2> size{height, width};
  if (is_label(output)) {
    // uint8 has a nearest kernel, int64 has none.
    output.data = at::upsample_nearest2d(output.data.unsqueeze(1).to(at::kByte), size)
                      .squeeze(1)
                      .to(at::kLong);
  } else {
    output.data = at::upsample_bilinear2d(output.data, size, /*align_corners=*/false);
  }
  return output;
}

Batch part_of(const Batch& batch, std::int64_t begin, std::int64_t count) {
  Batch part;
  part.preprocessed = batch.preprocessed;
  for (const at::Tensor& images : batch.images)
    part.images.push_back(images.narrow(0, begin, count));
  part.meta.assign(batch.meta.begin() + begin, batch.meta.begin() + begin + count);
  for (const auto& [name, target] : batch.targets) {
    part.targets[name] = {target.data.narrow(0, begin, count), target.spec};
  }
  return part;
}

Batch joined(const std::vector<Batch>& batches) {
  if (batches.size() == 1) return batches.front();
  Batch whole;
  whole.preprocessed = batches.front().preprocessed;
  for (std::size_t date = 0; date < batches.front().images.size(); ++date) {
    std::vector<at::Tensor> images;
    for (const Batch& batch : batches) images.push_back(batch.images[date]);
    whole.images.push_back(at::cat(images));
  }
  for (const Batch& batch : batches) {
    whole.meta.insert(whole.meta.end(), batch.meta.begin(), batch.meta.end());
  }
  return whole;
}

Outputs in_parts(const Batch& batch, std::int64_t limit, const Predict& f) {
  if (batch.size() <= limit) return f(batch);
  std::vector<Outputs> parts;
  for (std::int64_t begin = 0; begin < batch.size(); begin += limit) {
    parts.push_back(f(part_of(batch, begin, std::min(limit, batch.size() - begin))));
  }
  Outputs whole = parts.front();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::vector<at::Tensor> data;
    for (const Outputs& part : parts) data.push_back(part[i].second.data);
    whole[i].second.data = at::cat(data);
  }
  return whole;
}

}  // namespace strata::inference
