// Convolutions with their batch norms folded in, kept from call to call.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <utility>

#include "framework/base/export.hpp"

namespace strata::nn {

/// For a model that is served: its weights must not change any more, nor its layers move. Without
/// it conv_norm_act folds anew in each call, which costs a pass over the weights.
class STRATA_API FoldCache {
 public:
  struct Folded {
    at::Tensor weight, bias;
  };
  /// What `fold` made for these two layers, in this call or an earlier one.
  const Folded& get(const void* conv, const void* norm, const std::function<Folded()>& fold);

  /// While it lives, conv_norm_act keeps what it folds on this thread in `cache` (null: nowhere).
  class STRATA_API Use {
   public:
    explicit Use(FoldCache* cache);
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    FoldCache* before_;
  };
  /// The one in use on this thread, or null.
  static FoldCache* current();

 private:
  std::map<std::pair<const void*, const void*>, Folded> folded_;
};

}  // namespace strata::nn
