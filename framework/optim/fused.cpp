#include "framework/optim/fused.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros_like.h>

#include <map>
#include <tuple>

#include "framework/base/error.hpp"

namespace strata::optim {
namespace {

// The kernels walk all lists by memory position and do not look at strides.
bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  const at::IntArrayRef sizes = a.sizes(), left = a.strides(), right = b.strides();
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != 1 && left[i] != right[i]) return false;
  }
  return true;
}

at::Tensor in_layout_of(const at::Tensor& parameter, const at::Tensor& value) {
  at::Tensor copy = at::empty_strided(parameter.sizes(), parameter.strides(), parameter.options());
  copy.copy_(value);
  return copy;
}

std::string shape_text(const at::Tensor& tensor) {
  std::string text;
  for (const std::int64_t size : tensor.sizes()) {
    text += (text.empty() ? "" : ", ") + std::to_string(size);
  }
  return "[" + text + "]";
}

}  // namespace

FusedOptimizer::FusedOptimizer(std::vector<ParameterGroup> groups, std::vector<std::string> buffers)
    : Optimizer(std::move(groups)), buffer_names_(std::move(buffers)) {
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    for (std::size_t i = 0; i < groups_[g].parameters.size(); ++i) {
      Entry entry;
      entry.name = groups_[g].names[i];
      entry.parameter = groups_[g].parameters[i];
      entry.group = g;
      // A parameter that is a view with gaps could not share its memory order with its state.
      if (!entry.parameter.is_non_overlapping_and_dense()) {
        throw std::logic_error("parameter " + entry.name + " is not dense in memory");
      }
      entries_.push_back(std::move(entry));
    }
  }
}

void FusedOptimizer::rebuild() {
  std::map<std::tuple<std::size_t, std::string, at::ScalarType, std::int64_t>, std::size_t> places;
  buckets_.clear();
  for (std::size_t e = 0; e < entries_.size(); ++e) {
    Entry& entry = entries_[e];
    if (!entry.active) continue;
    while (entry.buffers.size() < buffer_names_.size()) {
      entry.buffers.push_back(at::zeros_like(entry.parameter));  // keeps the strides
    }
    const auto [place, added] = places.try_emplace(
        {entry.group, entry.parameter.device().str(), entry.parameter.scalar_type(), entry.steps},
        buckets_.size());
    if (added) {
      Bucket& fresh = buckets_.emplace_back();
      fresh.group = entry.group;
      fresh.steps = entry.steps;
      fresh.buffers.resize(buffer_names_.size());
    }
    Bucket& bucket = buckets_[place->second];
    bucket.entries.push_back(e);
    bucket.parameters.push_back(entry.parameter);
    bucket.gradients.emplace_back();
    for (std::size_t b = 0; b < buffer_names_.size(); ++b) {
      bucket.buffers[b].push_back(entry.buffers[b]);
    }
  }
  stale_ = false;
}

void FusedOptimizer::step(double factor) {
  const at::NoGradGuard no_grad;
  for (Entry& entry : entries_) {
    const bool active = entry.parameter.grad().defined();
    stale_ = stale_ || active != entry.active;
    entry.active = active;
  }
  if (stale_) rebuild();
  for (Bucket& bucket : buckets_) {
    for (std::size_t i = 0; i < bucket.parameters.size(); ++i) {
      const at::Tensor& parameter = bucket.parameters[i];
      const at::Tensor& gradient = parameter.grad();
      bucket.gradients[i] =
          same_layout(parameter, gradient) ? gradient : in_layout_of(parameter, gradient);
    }
    const ParameterGroup& group = groups_[bucket.group];
    update(bucket, group.lr * factor, group.weight_decay);
    ++bucket.steps;
    for (const std::size_t e : bucket.entries) ++entries_[e].steps;
    for (at::Tensor& gradient : bucket.gradients) gradient.reset();
  }
}

std::vector<std::pair<std::string, at::Tensor>> FusedOptimizer::state() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (const Entry& entry : entries_) {
    if (entry.steps == 0) continue;
    for (std::size_t b = 0; b < entry.buffers.size(); ++b) {
      all.emplace_back(entry.name + "." + buffer_names_[b], entry.buffers[b]);
    }
    all.emplace_back(entry.name + ".step", at::scalar_tensor(entry.steps, at::kLong));
  }
  return all;
}

void FusedOptimizer::load_state(const std::vector<std::pair<std::string, at::Tensor>>& state) {
  const at::NoGradGuard no_grad;
  std::map<std::string, at::Tensor> given(state.begin(), state.end());
  std::vector<Entry> loaded = entries_;
  for (Entry& entry : loaded) {
    entry.buffers.clear();
    entry.steps = 0;
    const auto step = given.find(entry.name + ".step");
    if (step == given.end()) continue;
    entry.steps = step->second.item<std::int64_t>();
    given.erase(step);
    for (const std::string& buffer : buffer_names_) {
      const auto found = given.find(entry.name + "." + buffer);
      if (found == given.end()) {
        throw CheckpointError("optimizer state: " + entry.name + "." + buffer + " is missing");
      }
      if (found->second.sizes() != entry.parameter.sizes()) {
        throw CheckpointError("optimizer state: " + found->first + " has shape " +
                              shape_text(found->second) + ", the parameter has " +
                              shape_text(entry.parameter));
      }
      entry.buffers.push_back(in_layout_of(entry.parameter, found->second));
      given.erase(found);
    }
  }
  if (!given.empty()) {
    throw CheckpointError("optimizer state: " + given.begin()->first +
                          " belongs to nothing that this optimizer trains");
  }
  entries_ = std::move(loaded);
  stale_ = true;
}

}  // namespace strata::optim
