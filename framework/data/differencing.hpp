#pragma once
// Change detection without learning: subtract the pictures, call changed what differs by more than
// a threshold. The number that a trained model has to beat.
#include <filesystem>
#include <string>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::data {

/// One way to subtract, with the threshold that suits the training pairs best.
struct Differencing {
  std::string method;    // "L2", "blur 1.5, gain, L1, smooth 3" ...
  double threshold = 0;  // in grey levels of 0 to 255
  double train_f1 = 0;   // of changed pixels, at that threshold
  double test_f1 = 0;    // the same threshold on the test pairs
};

/// Fits the threshold of every method on the pairs of `train` (a folder with A/, B/ and label/, PNG
/// files of equal names; label 0 or 1, 255 ignored) and applies it to those of `test`. Methods:
/// distance of the colours L1 or L2; with and without a Gaussian blur of both pictures (against
/// misregistration); with and without bringing each channel of B to the mean and deviation of A
/// (against light); with and without smoothing the distance (against noise). The first of the
/// result is the best on the training pairs. Throws DataError for a folder without such pairs.
STRATA_API std::vector<Differencing> fit_differencing(const std::filesystem::path& train,
                                                      const std::filesystem::path& test);

}  // namespace strata::data
