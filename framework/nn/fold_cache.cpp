#include "framework/nn/fold_cache.hpp"

namespace strata::nn {
namespace {

thread_local FoldCache* in_use = nullptr;

}  // namespace

const FoldCache::Folded& FoldCache::get(const void* conv, const void* norm,
                                        const std::function<Folded()>& fold) {
  auto place = folded_.find({conv, norm});
  if (place == folded_.end()) place = folded_.emplace(std::pair{conv, norm}, fold()).first;
  return place->second;
}

FoldCache::Use::Use(FoldCache* cache) : before_(in_use) { in_use = cache; }
FoldCache::Use::~Use() { in_use = before_; }
FoldCache* FoldCache::current() { return in_use; }

}  // namespace strata::nn
