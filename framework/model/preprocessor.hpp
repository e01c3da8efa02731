// From the loader's images to what a backbone takes: part of the model, so that whoever has the
// model has its mean, std and padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/model/batch.hpp"
#include "framework/model/device_values.hpp"

namespace strata {

struct PreprocessorOptions {
  std::optional<std::vector<double>> mean{};
  std::optional<std::vector<double>> std{};
  std::int64_t size_divisor = 1;
  static auto fields() {
    using config::field;
    using O = PreprocessorOptions;
    return std::tuple{
        field("mean", &O::mean,
              "of each channel, on the scale 0 to 255; default: ImageNet's for three channels, "
              "else 0"),
        field(
            "std", &O::std,
            "of each channel, on the scale 0 to 255; default: ImageNet's for three channels, else "
            "255")
            .above(0),
        field(
            "size_divisor", &O::size_divisor,
            "images are padded at the right and bottom, with the mean colour, to a multiple of it")
            .at_least(1)};
  }
};

/// (image - mean) / std, padded with 0. No parameters, no buffers.
class STRATA_API Preprocessor {
 public:
  /// Throws OptionError("preprocessor.mean", …) when the lengths do not fit.
  Preprocessor(const PreprocessorOptions& options, std::int64_t channels);

  /// D images [N, C, H, W], uint8 or floating -> [D * N, C, H', W'] channels-last of dtype and
  /// device; rows d * N … (d + 1) * N are date d's. `preprocessed` images are normalised already:
  /// they are only padded. Throws DataError when the dates differ in size or the channels are not
  /// the model's.
  at::Tensor operator()(const std::vector<at::Tensor>& images, at::ScalarType dtype,
                        at::Device device, bool preprocessed = false) const;
  /// The next multiple of size_divisor.
  std::int64_t padded(std::int64_t size) const;
  /// The batch with its targets padded like the images, by their ignore_index.
  Batch pad_targets(const Batch& batch) const;
  /// One of these.
  at::Tensor padded_target(const Batch& batch, const std::string& name) const;

 private:
  DeviceValues mean_;
  DeviceValues std_;
  std::int64_t divisor_;
};

}  // namespace strata
