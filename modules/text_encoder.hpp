// Text encoders turn words into feature vectors that live beside an image tower's (CLIP).
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "registry/component.hpp"

namespace strata {

/// What a text encoder takes and gives.
struct TextSpec {
  std::int64_t length = 77;        // positions: of tokens and learned context together
  std::int64_t token_width = 512;  // of one token's embedding
  std::int64_t width = 512;        // of the feature of a text
  bool operator==(const TextSpec&) const = default;
};

/// A text encoder `T` with options `O` also has `static TextSpec output(const O&)`. Words reach the
/// tower in two steps, so that a prompt can put learned vectors between them.
class STRATA_API TextEncoder : public torch::nn::Module {
 public:
  static constexpr const char* kind = "text_encoder";
  struct Context {};
  struct Statics {
    TextSpec (*output)(const void* options);
  };
  template <class Component, class Options>
  static Statics statics() {
    return {[](const void* options) {
      return Component::output(*static_cast<const Options*>(options));
    }};
  }

  /// The ids of one text, start and end mark included, without padding. Throws DataError when they
  /// are more than `length`.
  virtual std::vector<std::int64_t> tokenize(const std::string& text,
                                             std::int64_t length) const = 0;
  /// Ids of any shape [...] -> embeddings [..., token_width], without positions.
  virtual at::Tensor embed(const at::Tensor& ids) = 0;
  /// Embeddings [P, L, token_width] of P texts and the position [P] (int64) of each one's end mark ->
  /// features [P, width], not normalised. L may be less than `length`: what comes after the end mark
  /// does not count.
  virtual at::Tensor forward(const at::Tensor& embeddings, const at::Tensor& ends) = 0;
};

}  // namespace strata
