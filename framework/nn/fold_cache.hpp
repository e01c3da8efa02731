// Convolutions with their batch norms folded in, kept from call to call.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>
#include <map>
#include <tuple>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::nn {

/// For a model that is served: its weights must not change any more, nor its layers move. Without
/// it conv_norm_act folds anew in each call, which costs a pass over the weights.
class STRATA_API FoldCache {
 public:
  struct Folded {
    at::Tensor weight, bias;
  };
  /// How the weight lies: as in the layer, as oneDNN wants it, or transformed (winograd_conv).
  enum class Form { plain, packed, winograd };
  /// What `fold` made for these two layers in this form, in this call or an earlier one.
  const Folded& get(const void* conv, const void* norm, Form form,
                    const std::function<Folded()>& fold);
  void clear() { folded_.clear(); }

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
  std::map<std::tuple<const void*, const void*, Form>, Folded> folded_;
};

/// Changes when a parameter or buffer of `module` is written to or replaced: what was made of them
/// is out of date then.
STRATA_API std::vector<std::uint64_t> state_of_weights(const torch::nn::Module& module);

}  // namespace strata::nn
