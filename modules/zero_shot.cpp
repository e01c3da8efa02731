#include "modules/zero_shot.hpp"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>

#include "framework/base/error.hpp"

namespace strata::modules {

namespace {

// Of CLIP's own training pictures.
constexpr std::array<float, 3> kClipMean{0.48145466F, 0.4578275F, 0.40821073F};
constexpr std::array<float, 3> kClipStd{0.26862954F, 0.26130258F, 0.27577711F};

at::Tensor of_length_one(const at::Tensor& features) {
  const at::Tensor wide = features.to(at::kFloat);
  return wide / wide.norm(2, 1, /*keepdim=*/true);
}

at::Tensor per_channel(const std::array<float, 3>& values) {
  return at::tensor(at::ArrayRef<float>(values), at::kFloat).view({3, 1, 1});
}

}  // namespace

const std::vector<std::string>& scene_classes() {
  static const std::vector<std::string> names = {
      "airport",         "bare land",
      "basketball court", "beach",
      "bridge",          "dense residential",
      "farmland",        "forest",
      "freeway",         "ground track field",
      "harbor",          "island",
      "lake",            "meadow",
      "mine",            "mountain",
      "oil tank",        "runway",
      "sea",             "solar panel",
      "stadium",         "tennis court",
      "terrace",         "wetland",
      "commercial area", "cotton field",
      "industrial area", "railway",
      "interchange",     "single-family residential",
      "highway",         "intersection",
      "golf course",     "desert",
      "river",           "campus",
      "prairie",         "building",
      "fertile land",    "park",
      "parking lot",     "square",
      "road",            "tree",
      "cars",            "shrubbery",
      "impermeable surface", "ship",
      "airplane",        "pond",
      "church",          "chaparral",
      "storage tanks",   "snow land",
      "container",       "cabin"};
  return names;
}

at::Tensor clip_picture(const at::Tensor& picture, std::int64_t side) {
  TORCH_CHECK(picture.dim() == 3 && picture.size(2) == 3 && picture.scalar_type() == at::kByte,
              "a picture of three 8-bit channels is needed, got ", picture.sizes());
  const std::int64_t height = picture.size(0), width = picture.size(1);
  const std::int64_t shorter = std::min(height, width);
  const std::int64_t new_height = side * height / shorter, new_width = side * width / shorter;
  at::Tensor pixels = picture.permute({2, 0, 1}).unsqueeze(0);
  if (new_height != height || new_width != width) {
    pixels = at::_upsample_bicubic2d_aa(pixels, {new_height, new_width}, /*align_corners=*/false);
  }
  // The middle as Python rounds it: halves to the even number.
  const auto margin = [side](std::int64_t size) {
    const std::int64_t rest = size - side;
    return rest / 2 + (rest % 2 == 1 && rest / 2 % 2 == 1 ? 1 : 0);
  };
  pixels = pixels[0].narrow(1, margin(new_height), side).narrow(2, margin(new_width), side);
  return (pixels.to(at::kFloat).div(255) - per_channel(kClipMean)) / per_channel(kClipStd);
}

ZeroShot::ZeroShot(TextEncoder& encoder, const std::vector<std::string>& classes,
                   const ZeroShotOptions& options)
    : scale_(options.scale) {
  const std::size_t place = options.prompt.find("{}");
  if (place == std::string::npos) {
    throw UserError("prompt: has no {} for the name of a class, got \"" + options.prompt + "\"");
  }
  std::vector<std::vector<std::int64_t>> ids;
  std::size_t longest = 0;
  for (const std::string& name : classes) {
    const std::string text = std::string(options.prompt).replace(place, 2, name);
    ids.push_back(encoder.tokenize(text, options.length));
    longest = std::max(longest, ids.back().size());
  }
  const auto count = static_cast<std::int64_t>(classes.size());
  at::Tensor table = at::zeros({count, static_cast<std::int64_t>(longest)}, at::kLong);
  at::Tensor ends = at::empty({count}, at::kLong);
  auto rows = table.accessor<std::int64_t, 2>();
  auto last = ends.accessor<std::int64_t, 1>();
  for (std::int64_t k = 0; k < count; ++k) {
    const auto& own = ids[static_cast<std::size_t>(k)];
    for (std::size_t i = 0; i < own.size(); ++i) rows[k][static_cast<std::int64_t>(i)] = own[i];
    last[k] = static_cast<std::int64_t>(own.size()) - 1;
  }
  const at::NoGradGuard no_grad;
  texts_ = of_length_one(
      encoder.forward(encoder.embed(table.to(options.device)), ends.to(options.device)));
}

at::Tensor ZeroShot::probabilities(const at::Tensor& features) const {
  return at::softmax(scale_ * of_length_one(features).matmul(texts_.t()), 1);
}

}  // namespace strata::modules
