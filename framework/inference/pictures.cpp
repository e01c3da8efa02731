#include "framework/inference/pictures.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace strata::inference {
namespace {

constexpr std::uint8_t kGrey = 128;

// 256 colours by value; values without a class (ignored) are grey.
at::Tensor lookup_table(const LabelSpec& label) {
  at::Tensor table = at::full({256, 3}, kGrey, at::kByte);
  auto* colours = table.mutable_data_ptr<std::uint8_t>();
  for (std::size_t c = 0; c < label.palette.size() && c < 256; ++c) {
    for (std::size_t k = 0; k < 3; ++k) {
      colours[c * 3 + k] = static_cast<std::uint8_t>(label.palette[c][k]);
    }
  }
  return table;
}

at::Tensor shown_channels(const at::Tensor& image) {
  return image.size(2) >= 3 ? image.narrow(2, 0, 3) : image.narrow(2, 0, 1);
}

}  // namespace

Stretch stretch_of(const at::Tensor& image) {
  if (image.scalar_type() == at::kByte) return {};
  const at::Tensor sorted =
      std::get<0>(at::nan_to_num(shown_channels(image).to(at::kFloat), 0, 0, 0).flatten().sort());
  const std::int64_t last = sorted.numel() - 1;
  return {sorted[last * 2 / 100].item<double>(), sorted[last - last * 2 / 100].item<double>()};
}

at::Tensor displayable(const at::Tensor& image, const std::optional<Stretch>& stretch) {
  at::Tensor picture = shown_channels(image);
  if (picture.scalar_type() != at::kByte) {
    const auto [low, high] = stretch ? *stretch : stretch_of(image);
    picture = ((picture.to(at::kFloat) - low) * (255 / std::max(high - low, 1e-12)))
                  .nan_to_num(0, 255, 0)
                  .clamp(0, 255)
                  .to(at::kByte);
  }
  return picture.expand({-1, -1, 3}).contiguous();
}

std::size_t date_under(const LabelSpec& label, std::size_t dates) {
  if (label.role == "change") return dates - 1;
  return std::min(static_cast<std::size_t>(label.date), dates - 1);
}

at::Tensor colourise(const at::Tensor& classes, const LabelSpec& label) {
  return lookup_table(label)
      .index_select(0, classes.reshape({-1}).to(at::kLong))
      .reshape({classes.size(0), classes.size(1), 3});
}

at::Tensor overlay(const at::Tensor& image, const at::Tensor& classes, const LabelSpec& label,
                   double opacity, bool clear_first) {
  at::Tensor weight = at::full({classes.size(0), classes.size(1), 1}, opacity, at::kFloat);
  at::Tensor clear = classes == label.ignore_index;
  if (clear_first) clear = clear.logical_or(classes == 0);
  weight = weight.masked_fill(clear.unsqueeze(2), 0.0);
  const at::Tensor colours = colourise(classes, label).to(at::kFloat);
  return at::lerp(image.to(at::kFloat), colours, weight).round().clamp(0, 255).to(at::kByte);
}

at::Tensor compare(const at::Tensor& prediction, const at::Tensor& truth,
                   std::int64_t ignore_index) {
  constexpr std::array<std::array<std::uint8_t, 3>, 5> kColours{
      {{0, 0, 0}, {255, 60, 60}, {60, 110, 255}, {255, 255, 255}, {kGrey, kGrey, kGrey}}};
  at::Tensor table = at::empty({5, 3}, at::kByte);
  for (int i = 0; i < 5; ++i) {
    for (int k = 0; k < 3; ++k) table.mutable_data_ptr<std::uint8_t>()[i * 3 + k] = kColours[i][k];
  }
  at::Tensor index = (prediction > 0).to(at::kLong) + 2 * (truth > 0).to(at::kLong);
  index = index.masked_fill(truth == ignore_index, 4);
  return table.index_select(0, index.reshape({-1})).reshape({truth.size(0), truth.size(1), 3});
}

at::Tensor mistakes(const at::Tensor& image, const at::Tensor& prediction, const at::Tensor& truth,
                    std::int64_t ignore_index) {
  at::Tensor picture = (image.to(at::kFloat).mean(2, /*keepdim=*/true) * 0.6 + 90).to(at::kByte);
  picture = picture.expand({-1, -1, 3}).contiguous();
  const auto paint = [&](const at::Tensor& where, std::array<std::uint8_t, 3> colour) {
    const at::Tensor pixel = at::tensor({colour[0], colour[1], colour[2]}, at::kByte);
    picture = at::where(where.unsqueeze(2), pixel, picture);
  };
  paint(prediction != truth, {225, 40, 40});
  paint(truth == ignore_index, {kGrey, kGrey, kGrey});
  return picture.contiguous();
}

at::Tensor shrink(const at::Tensor& picture, std::int64_t longest) {
  const std::int64_t height = picture.size(0), width = picture.size(1);
  if (std::max(height, width) <= longest) return picture;
  const double scale = static_cast<double>(longest) / static_cast<double>(std::max(height, width));
  const std::array<std::int64_t, 2> size{
      std::max<std::int64_t>(std::llround(scale * static_cast<double>(height)), 1),
      std::max<std::int64_t>(std::llround(scale * static_cast<double>(width)), 1)};
  const at::Tensor planes = picture.permute({2, 0, 1}).unsqueeze(0).to(at::kFloat).contiguous();
  return at::_upsample_bilinear2d_aa(planes, size, /*align_corners=*/false)[0]
      .round()
      .clamp(0, 255)
      .to(at::kByte)
      .permute({1, 2, 0})
      .contiguous();
}

at::Tensor side_by_side(const std::vector<at::Tensor>& pictures, std::int64_t gap) {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& picture : pictures) {
    if (!parts.empty()) parts.push_back(at::full({picture.size(0), gap, 3}, 255, at::kByte));
    parts.push_back(picture);
  }
  return at::cat(parts, 1);
}

}  // namespace strata::inference
