// Classes of pictures by their names alone: which of some texts a CLIP finds nearest to a picture
// (Radford et al., ICML 2021).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/base/export.hpp"
#include "modules/text_encoder.hpp"

namespace strata::modules {

/// The names of the 56 classes of scenes that ChangeCLIP tags aerial pictures with (Dong et al.,
/// ISPRS Journal 2024).
STRATA_API const std::vector<std::string>& scene_classes();

/// A picture [H, W, 3] uint8 as CLIP's image tower takes it: the shorter side resized to `side`
/// (bicubic, antialiased, 8 bits), its middle, normalised; [3, side, side] float.
STRATA_API at::Tensor clip_picture(const at::Tensor& picture, std::int64_t side);

struct ZeroShotOptions {
  std::string prompt = "{}";  // what is said of a class; {} stands for its name
  double scale = 100;         // of cosines, on their way to probabilities
  std::int64_t length = 77;   // positions of the encoder
  c10::Device device = at::kCPU;
};

/// Texts of classes beside pictures.
class STRATA_API ZeroShot {
 public:
  /// Throws UserError for a prompt without {}, DataError for a text that is too long.
  ZeroShot(TextEncoder& encoder, const std::vector<std::string>& classes,
           const ZeroShotOptions& options = {});

  /// Features of pictures [N, width], not normalised -> probabilities [N, classes].
  at::Tensor probabilities(const at::Tensor& features) const;

 private:
  at::Tensor texts_;  // [classes, width] of length 1
  double scale_;
};

}  // namespace strata::modules
