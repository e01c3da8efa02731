// Reads a picture from memory in every way that a data set does.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/data/labels.hpp"
#include "framework/io/image.hpp"
#include "tests/fuzz/target.hpp"

namespace strata::fuzz {

inline void read_labels(const void* bytes, std::size_t size) {
  static const LabelSpec spec{"map", {"a", "b", "c"}, {{0, 0, 0}, {255, 0, 0}, {7, 7, 7}},
                              255,   "semantic",      0};
  static const data::LabelReader by_index({}, spec, {});
  static const data::LabelReader by_colour(
      {.label_format = "palette", .label_map = {}, .file_classes = {}, .file_palette = {}}, spec, {});
  const std::string& path = as_file(bytes, size);
  run(path, [&] { require(by_index.read(path).dim() == 2, "a label map is [H, W]"); });
  run(path, [&] { require(by_colour.read(path).dim() == 2, "a label map is [H, W]"); });
  run(path, [&] {
    const at::Tensor image = io::read_image(path);
    require(image.dim() == 3 && image.size(2) == 3, "a picture is [H, W, 3]");
  });
  run(path, [&] {
    require(io::read_image(path, io::Channels::as_stored).dim() == 3, "a picture is [H, W, C]");
  });
}

}  // namespace strata::fuzz
