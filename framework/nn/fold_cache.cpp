#include "framework/nn/fold_cache.hpp"

namespace strata::nn {
namespace {

thread_local FoldCache* in_use = nullptr;

}  // namespace

const FoldCache::Folded& FoldCache::get(const void* conv, const void* norm, Form form,
                                        const std::function<Folded()>& fold) {
  const std::tuple key{conv, norm, form};
  auto place = folded_.find(key);
  if (place == folded_.end()) place = folded_.emplace(key, fold()).first;
  return place->second;
}

FoldCache::Use::Use(FoldCache* cache) : before_(in_use) { in_use = cache; }
FoldCache::Use::~Use() { in_use = before_; }
FoldCache* FoldCache::current() { return in_use; }

std::vector<std::uint64_t> state_of_weights(const torch::nn::Module& module) {
  std::vector<std::uint64_t> state;
  const auto add = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    state.push_back(reinterpret_cast<std::uint64_t>(tensor.const_data_ptr()));
    state.push_back(tensor.is_inference() ? 0 : tensor._version());
  };
  for (const at::Tensor& parameter : module.parameters()) add(parameter);
  for (const at::Tensor& buffer : module.buffers()) add(buffer);
  return state;
}

}  // namespace strata::nn
