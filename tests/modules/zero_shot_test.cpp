// Pictures prepared as torchvision and Pillow do for CLIP, and classes found by texts.
#include "modules/zero_shot.hpp"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/support/build.hpp"

namespace strata::tests {
namespace {

using modules::ZeroShot;

at::Tensor picture(std::int64_t height, std::int64_t width) {
  at::Tensor pixels = at::empty({height, width, 3}, at::kByte);
  auto values = pixels.accessor<std::uint8_t, 3>();
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        values[y][x][c] = static_cast<std::uint8_t>(
            (x * x * 3 + y * 7 + c * 40 + (x / 5 + y / 7) % 2 * 90) % 256);
      }
    }
  }
  return pixels;
}

// Back to 8 bits: what the normalisation was given.
at::Tensor bytes_of(const at::Tensor& input) {
  const at::Tensor mean = at::tensor({0.48145466F, 0.4578275F, 0.40821073F}).view({3, 1, 1});
  const at::Tensor std = at::tensor({0.26862954F, 0.26130258F, 0.27577711F}).view({3, 1, 1});
  return ((input * std + mean) * 255).round();
}

// torchvision.transforms.Resize(side, BICUBIC) and CenterCrop(side) of torchvision 0.26 on the
// picture above, by Pillow: the first row of red and the last of blue. One step of 255 may differ,
// as Pillow computes with weights of 22 bits.
TEST(ClipPicture, IsResizedAndCutAsItsAuthorsDo) {
  const at::Tensor small = bytes_of(modules::clip_picture(picture(31, 45), 10));
  ASSERT_EQ(small.sizes(), (at::IntArrayRef{3, 10, 10}));
  EXPECT_TRUE(at::allclose(
      small[0][0], at::tensor({133., 99., 94., 122., 127., 141., 161., 92., 138., 127.}).to(at::kFloat), 0, 1));
  EXPECT_TRUE(at::allclose(
      small[2][9], at::tensor({90., 116., 83., 132., 140., 154., 128., 117., 154., 143.}).to(at::kFloat), 0, 1));
  // Enlarged to 16 x 21; of 21 columns, those from 2 (2.5, to the even number) on.
  const at::Tensor large = bytes_of(modules::clip_picture(picture(9, 12), 16));
  EXPECT_TRUE(at::allclose(large[0][0],
                           at::tensor({2., 6., 12., 20., 28., 36., 85., 158., 185., 200., 240.,
                                       203., 57., 27., 74., 59.})
                               .to(at::kFloat),
                           0, 1));
  EXPECT_TRUE(at::equal(bytes_of(modules::clip_picture(picture(8, 8), 8)),
                        picture(8, 8).permute({2, 0, 1}).to(at::kFloat)));
}

/// Texts lie where their words say: the feature counts a, b and c.
struct CountingEncoder final : TextEncoder {
  std::vector<std::int64_t> tokenize(const std::string& text, std::int64_t length) const override {
    std::vector<std::int64_t> ids;
    for (const char c : text) ids.push_back(c);
    ids.push_back(127);
    seen.push_back(text);
    EXPECT_EQ(length, 20);
    return ids;
  }
  at::Tensor embed(const at::Tensor& ids) override { return at::one_hot(ids, 128).to(at::kFloat); }
  at::Tensor forward(const at::Tensor& embeddings, const at::Tensor& ends) override {
    at::Tensor features = at::empty({embeddings.size(0), 3});
    for (std::int64_t k = 0; k < embeddings.size(0); ++k) {
      const auto end = ends[k].item<std::int64_t>();
      EXPECT_EQ(embeddings[k][end].argmax().item<std::int64_t>(), 127);
      features[k] = embeddings[k].narrow(0, 0, end).sum(0).narrow(0, 'a', 3);
    }
    return features;
  }
  mutable std::vector<std::string> seen;
};

TEST(ZeroShot, IsASoftmaxOfScaledCosines) {
  CountingEncoder encoder;
  const ZeroShot classes(encoder, {"aa", "abc", "bb"}, {.prompt = "x {}", .scale = 10, .length = 20});
  EXPECT_EQ(encoder.seen, (std::vector<std::string>{"x aa", "x abc", "x bb"}));
  const at::Tensor got = classes.probabilities(at::tensor({2., 0., 0., 0., 1., 1.}).view({2, 3}));
  // Cosines with (1, 0, 0): 1, 1/sqrt(3), 0; with (0, 1, 1): 0, 2/sqrt(6), 1/sqrt(2).
  for (const auto& [row, cosines] :
       {std::pair{0, std::array{1.0, 1 / std::sqrt(3.0), 0.0}},
        std::pair{1, std::array{0.0, 2 / std::sqrt(6.0), 1 / std::sqrt(2.0)}}}) {
    double sum = 0;
    for (const double cosine : cosines) sum += std::exp(10 * cosine);
    for (std::size_t k = 0; k < 3; ++k) {
      EXPECT_NEAR(got[row][static_cast<std::int64_t>(k)].item<double>(),
                  std::exp(10 * cosines[k]) / sum, 1e-6);
    }
  }
  EXPECT_EQ(message_of([&] { ZeroShot(encoder, {"a"}, {.prompt = "a photo"}); }),
            "prompt: has no {} for the name of a class, got \"a photo\"");
}

TEST(SceneClasses, AreThe56OfChangeClip) {
  const auto& names = modules::scene_classes();
  EXPECT_EQ(names.size(), 56U);
  EXPECT_EQ(std::set(names.begin(), names.end()).size(), 56U);
  EXPECT_EQ(names.front(), "airport");
  EXPECT_EQ(names.back(), "cabin");
  EXPECT_EQ(names[29], "single-family residential");
}

}  // namespace
}  // namespace strata::tests
