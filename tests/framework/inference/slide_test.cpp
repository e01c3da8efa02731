// Windows: where they lie, how they are merged, that few rows are held.
#include "framework/inference/slide.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "framework/inference/predictor.hpp"
#include "framework/io/safetensors.hpp"
#include "tests/framework/inference/stub_model.hpp"

namespace strata::tests {
namespace {

using inference::slide;
using inference::window_starts;
using Starts = std::vector<std::int64_t>;

InferenceOptions windows(std::int64_t height, std::int64_t width, std::int64_t down,
                         std::int64_t right, const std::string& weights = "constant") {
  InferenceOptions options;
  options.mode = "slide";
  options.crop_size = {height, width};
  options.stride = {down, right};
  options.window_weights = weights;
  return options;
}

TEST(WindowStarts, AreShiftedBackAtTheEnd) {
  EXPECT_EQ(window_starts(10, 4, 3), (Starts{0, 3, 6}));
  EXPECT_EQ(window_starts(11, 4, 3), (Starts{0, 3, 6, 7}));
  EXPECT_EQ(window_starts(4, 4, 3), (Starts{0}));
  EXPECT_EQ(window_starts(3, 4, 3), (Starts{0}));
  EXPECT_EQ(window_starts(8, 4, 4), (Starts{0, 4}));
}

TEST(Slide, WindowsKnowTheTagsOfTheirPicture) {
  Batch batch = batch_of({ramp(2, 1, 3, 5), ramp(2, 1, 3, 5)});
  batch.meta[0].tags = {{"forest", "lake"}, {"airport"}};
  std::vector<std::vector<std::vector<std::string>>> seen;
  InferenceOptions options = windows(3, 3, 3, 2);
  options.window_batch = 2;
  slide(options, batch, [&](const Batch& part) -> Outputs {
    for (const SampleMeta& meta : part.meta) seen.push_back(meta.tags);
    return {{"logits", output_of(part.images[0], Output::Kind::logits)}};
  });
  EXPECT_EQ(seen, (decltype(seen){batch.meta[0].tags, batch.meta[0].tags, {}, {}}));
}

// A window is told from its neighbours by what it makes of its own first pixel.
Outputs marked(const Batch& batch) {
  const at::Tensor x = batch.images.front().to(at::kFloat);
  const at::Tensor corner = x.narrow(2, 0, 1).narrow(3, 0, 1);
  return {{"logits", output_of(x + corner, Output::Kind::logits)}};
}

TEST(Slide, AveragesOverlapsByHand) {
  // One row of five pixels 0..4, windows of 3 at 0 and 2: they add 0 and 2.
  const Batch batch = batch_of({at::arange(5, at::kFloat).reshape({1, 1, 1, 5})});
  const Outputs outputs = slide(windows(1, 3, 1, 2), batch, marked);
  const at::Tensor expected = at::tensor({0.F, 1.F, (2.F + 4.F) / 2, 5.F, 6.F});
  EXPECT_TRUE(at::equal(outputs[0].second.data.flatten(), expected)) << outputs[0].second.data;
}

TEST(Slide, TakesTheWindowInWhichAPixelLiesDeepest) {
  // Windows of 4 at 0, 2, 4 over eight pixels: the shares end at 3 and 5.
  const Batch batch = batch_of({at::zeros({1, 1, 8, 8}) + at::arange(8, at::kFloat)});
  const Outputs outputs = slide(windows(4, 4, 2, 2, "center"), batch, marked);
  const at::Tensor expected = at::tensor({0.F, 1.F, 2.F, 5.F, 6.F, 9.F, 10.F, 11.F});
  EXPECT_TRUE(at::equal(outputs[0].second.data[0][0], expected.expand({8, 8})))
      << outputs[0].second.data;
}

TEST(Slide, VotesForLabels) {
  // Three windows of 3 over five pixels, labels by the window: the middle pixel has three votes.
  auto label_by_window = [](const Batch& batch) -> Outputs {
    const at::Tensor first = batch.images.front().select(1, 0).narrow(2, 0, 1).to(at::kLong);
    const at::Tensor label =
        at::where(first == 1, at::full_like(first, 7), at::full_like(first, 2));
    return {{"label", output_of(label.expand({-1, batch.height(), batch.width()}).contiguous(),
                                Output::Kind::label)}};
  };
  const Batch batch = batch_of({at::arange(5, at::kFloat).reshape({1, 1, 1, 5})});
  const Outputs outputs = slide(windows(1, 3, 1, 1), batch, label_by_window);
  // Votes: {2}, {2, 7}, {2, 7, 2}, {7, 2}, {2}; a tie goes to the lower class.
  EXPECT_TRUE(at::equal(outputs[0].second.data.flatten(), at::full({5}, 2, at::kLong)));
  const Outputs two = slide(windows(1, 2, 1, 1), batch, label_by_window);
  // Windows at 0..3: 2, 7, 2, 2.
  EXPECT_TRUE(at::equal(two[0].second.data.flatten(), at::full({5}, 2, at::kLong)));
}

// A model that sees no further than its own pixel gives the same in windows as at once.
Outputs pointwise(const Batch& batch) {
  const at::Tensor x = batch.images.front().to(at::kFloat), y = batch.images.back().to(at::kFloat);
  return {{"logits", output_of(at::sin(x) * y, Output::Kind::logits)},
          {"value", output_of(at::cos(y), Output::Kind::value)}};
}

TEST(Slide, GivesTheWholeResultForAModelThatSeesOnePixel) {
  at::manual_seed(3);
  const Batch batch = batch_of({at::randn({2, 3, 37, 41}), at::randn({2, 3, 37, 41})});
  const Outputs whole = pointwise(batch);
  for (const char* weights : {"constant", "gaussian", "center"}) {
    for (const std::int64_t window_batch : {1, 3, 100}) {
      InferenceOptions options = windows(16, 12, 7, 11, weights);
      options.window_batch = window_batch;
      const Outputs parts = slide(options, batch, pointwise);
      for (std::size_t i = 0; i < whole.size(); ++i) {
        EXPECT_EQ(parts[i].first, whole[i].first);
        const double error =
            (parts[i].second.data - whole[i].second.data).abs().max().item<double>();
        EXPECT_LE(error, 1e-6) << weights;
      }
    }
  }
}

TEST(Slide, IsExactWhenAWindowCoversThePicture) {
  at::manual_seed(4);
  const Batch batch = batch_of({at::randn({2, 3, 9, 11})});
  for (const char* weights : {"constant", "gaussian", "center"}) {
    const Outputs parts = slide(windows(9, 16, 3, 5, weights), batch, marked);
    EXPECT_TRUE(at::equal(parts[0].second.data, marked(batch)[0].second.data)) << weights;
  }
}

TEST(Slide, HoldsNoMoreRowsThanAWindow) {
  // A picture of 400 rows that exists only window by window.
  std::int64_t next = 0, largest = 0;
  auto read = [](std::int64_t top, std::int64_t left, std::int64_t h, std::int64_t w) {
    const at::Tensor rows = at::arange(top, top + h, at::kFloat).unsqueeze(1);
    const at::Tensor columns = at::arange(left, left + w, at::kFloat);
    return batch_of({(rows / 100 + columns / 64).reshape({1, 1, h, w})});
  };
  slide(windows(32, 16, 24, 10), 400, 50, read, pointwise,
        [&](std::int64_t top, std::int64_t left, const Outputs& rows) {
          EXPECT_EQ(top, next);
          EXPECT_EQ(left, 0);
          const at::Tensor& data = rows[0].second.data;
          next += data.size(2);
          largest = std::max(largest, data.size(2));
          const Batch own = read(top, 0, data.size(2), 50);
          EXPECT_LE((data - pointwise(own)[0].second.data).abs().max().item<double>(), 1e-5);
        });
  EXPECT_EQ(next, 400);
  EXPECT_LE(largest, 32);
}

TEST(Slide, GivesTheSameBytesInPanels) {
  at::manual_seed(6);
  const Batch picture = batch_of({at::randn({1, 1, 70, 150})});
  auto read = [&](std::int64_t top, std::int64_t left, std::int64_t h, std::int64_t w) {
    return batch_of({picture.images[0].narrow(2, top, h).narrow(3, left, w)});
  };
  for (const char* weights : {"constant", "gaussian", "center"}) {
    InferenceOptions options = windows(20, 24, 13, 9, weights);
    const auto collect = [&](std::int64_t bytes) {
      options.memory.bytes = bytes;
      at::Tensor all = at::full({70, 150}, NAN);
      slide(options, 70, 150, read, marked,
            [&](std::int64_t top, std::int64_t left, const Outputs& block) {
              const at::Tensor data = block[0].second.data[0][0];
              at::Tensor place = all.narrow(0, top, data.size(0)).narrow(1, left, data.size(1));
              EXPECT_TRUE(place.isnan().all().item<bool>()) << "written twice";
              place.copy_(data);
            });
      return all;
    };
    const at::Tensor whole = collect(0);
    EXPECT_FALSE(whole.isnan().any().item<bool>());
    for (const std::int64_t bytes : {1, 12'000, 16'000, 1'000'000}) {
      EXPECT_TRUE(at::equal(collect(bytes), whole)) << weights << " " << bytes;
    }
  }
}

// What is held, counted by hand, and that it stays below the limit where one panel can.
TEST(SlidePlan, KeepsToTheMemory) {
  InferenceOptions options = windows(512, 512, 341, 341);
  options.window_batch = 4;
  options.memory.bytes = std::int64_t{512} << 20;
  // Two classes, 20,000 pixels wide: one panel. Of a column: 512 rows of sums, 171 that stay, and
  // 64 that are done, twice; beside it four windows.
  const auto two = inference::plan_slide(options, 20'000, 20'000, 2);
  ASSERT_EQ(two.panels.size(), 1U);
  EXPECT_EQ(two.window_batch, 4);
  EXPECT_EQ(two.rows_at_once, 64);
  EXPECT_EQ(two.bytes, 8 * (20'000 * (512 + 171 + 2 * 64) + 4 * 512 * 512));
  for (const std::int64_t planes : {19, 20, 150}) {
    const auto plan = inference::plan_slide(options, 20'000, 20'000, planes);
    EXPECT_GT(plan.panels.size(), 1U) << planes;
    EXPECT_LE(plan.bytes, std::int64_t{512} << 20) << planes;
    std::int64_t next = 0;
    for (const auto& panel : plan.panels) {
      EXPECT_EQ(panel.left, next);
      EXPECT_GT(panel.right, panel.left);
      next = panel.right;
    }
    EXPECT_EQ(next, 20'000);
  }
  // With a window of 1024 and 150 classes a single one takes 600 MiB: no panel is smaller.
  options.crop_size = {1024, 1024};
  options.stride = {896, 896};
  const auto large = inference::plan_slide(options, 20'000, 20'000, 150);
  EXPECT_EQ(large.window_batch, 1);
  EXPECT_EQ(large.panels.back().right, 20'000);
  options.memory = {};
  EXPECT_EQ(inference::plan_slide(options, 20'000, 20'000, 150).panels.size(), 1U);
}

// tests/parity/slide.py runs mmseg's slide_inference on the same numbers.
TEST(Slide, EqualsMmseg) {
  const auto file = io::read_safetensors(STRATA_SOURCE_DIR "/tests/data/slide_mmseg.safetensors");
  const at::Tensor weight = get(file.tensors, "weight"), bias = get(file.tensors, "bias");
  auto convolve = [&](const Batch& batch) -> Outputs {
    return {
        {"logits", output_of(at::conv2d(batch.images.front().to(at::kDouble), weight, bias, 2, 1)
                                 .repeat_interleave(2, 2)
                                 .repeat_interleave(2, 3)
                                 .narrow(2, 0, batch.height())
                                 .narrow(3, 0, batch.width()),
                             Output::Kind::logits)}};
  };
  const Batch batch = batch_of({get(file.tensors, "image")});
  for (const auto& [name, options] : {std::pair{"out.overlapping", windows(16, 20, 11, 7)},
                                      std::pair{"out.touching", windows(12, 12, 12, 12)},
                                      std::pair{"out.wide", windows(8, 64, 5, 64)},
                                      std::pair{"out.larger", windows(64, 64, 40, 40)}}) {
    const at::Tensor expected = get(file.tensors, name);
    const at::Tensor got = slide(options, batch, convolve)[0].second.data;
    EXPECT_LE((got - expected).abs().max().item<double>(), 1e-12) << name;
  }
}

TEST(Predictor, CutsSamplesOfSeveralSizesOneByOne) {
  // Two samples of 6 x 6 and 4 x 5 in one batch; what each window adds shows how it was cut.
  Batch batch = batch_of({ramp(2, 1, 6, 6)});
  batch.meta[1].height = 4;
  batch.meta[1].width = 5;
  auto model = std::make_shared<StubModel>([](const std::vector<at::Tensor>& images) -> Outputs {
    return {{"logits", output_of(images[0] + images[0].narrow(2, 0, 1).narrow(3, 0, 1),
                                 Output::Kind::logits)}};
  });
  const InferenceOptions options = windows(4, 4, 4, 4);
  const inference::Predictor predictor({{model, options, {}, {}}}, {});
  const at::Tensor got = predictor.predict(batch)[0].second.data;
  const Batch second = batch_of({batch.images[0].narrow(0, 1, 1).narrow(2, 0, 4).narrow(3, 0, 5)});
  const at::Tensor alone = predictor.predict(second)[0].second.data;
  EXPECT_EQ(got.sizes(), (std::vector<std::int64_t>{2, 1, 6, 6}));
  EXPECT_TRUE(at::equal(got.narrow(0, 1, 1).narrow(2, 0, 4).narrow(3, 0, 5), alone));
  EXPECT_LE(model->largest, 4);
}

}  // namespace
}  // namespace strata::tests
