// Pixels as OpenCV sees them: for sources of data code, which include <opencv2/core.hpp>
// themselves.
#pragma once

#include <ATen/core/Tensor.h>

namespace cv {
class Mat;
}

namespace strata::data {

/// The memory of a picture [H, W, C] or map [H, W]; nothing is copied.
cv::Mat mat_of(const at::Tensor& pixels);
/// New memory of another size, of the same kind.
at::Tensor like(const at::Tensor& pixels, std::int64_t height, std::int64_t width);
/// … of the same size.
inline at::Tensor like(const at::Tensor& pixels) {
  return like(pixels, pixels.size(0), pixels.size(1));
}

}  // namespace strata::data
