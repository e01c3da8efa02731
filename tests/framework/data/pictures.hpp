// Small samples for transforms.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "framework/data/sample.hpp"
#include "tests/framework/data/support.hpp"
#include "tests/support/seed.hpp"

namespace strata::tests {

inline const LabelSpecs& specs() {
  static const LabelSpecs all =
      label_specs({label_spec("before", 250), label_spec("change", 250, "change")});
  return all;
}

// Two dates and two targets; channel c of date d at pixel k is value(k) + c + 10 d, targets
// value(k).
inline Sample sample_of(const at::Tensor& values) {
  Sample sample;
  const at::Tensor map = values.to(at::kByte);
  for (int date = 0; date < 2; ++date) {
    sample.images.push_back((map.unsqueeze(2) + at::tensor({0, 1, 2}, at::kByte) + 10 * date)
                                .to(at::kByte)
                                .contiguous());
    sample.meta.paths.push_back("picture.png");
  }
  for (const char* name : {"before", "change"})
    sample.targets[name] = {map.clone(), specs().find(name)};
  sample.meta.height = sample.meta.original_height = map.size(0);
  sample.meta.width = sample.meta.original_width = map.size(1);
  return sample;
}

inline at::Tensor grid(std::int64_t height, std::int64_t width) {
  return at::arange(height * width, at::kLong).remainder(200).to(at::kByte).view({height, width});
}

inline Sample applied(const std::string& table, Sample sample, std::uint64_t stream = 0) {
  Philox random(seed(), stream);
  make<Transform>(table, {specs()})->apply(sample, random);
  return sample;
}

// Every date and target shows `want` (of which dates hold their own channels' offsets).
inline void expect_all(const Sample& sample, const at::Tensor& want) {
  for (const auto& [name, target] : sample.targets) {
    EXPECT_TRUE(at::equal(target.map, want)) << name << "\n" << target.map;
  }
  for (std::int64_t date = 0; date < 2; ++date) {
    for (std::int64_t c = 0; c < 3; ++c) {
      EXPECT_TRUE(at::equal(sample.images[date].select(2, c), want + (c + 10 * date))) << date << c;
    }
  }
}

inline at::Tensor rows(std::initializer_list<std::initializer_list<int>> all) {
  std::vector<at::Tensor> lines;
  for (const auto& row : all) lines.push_back(at::tensor(std::vector<int>(row)).to(at::kByte));
  return at::stack(lines);
}

}  // namespace strata::tests
