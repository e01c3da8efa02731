// Whole weight files of any format: zip archives, TorchScript, old pickles.
#include "tests/fuzz/weights.hpp"

namespace strata::fuzz {

int torch_file(const std::uint8_t* data, std::size_t size) {
  read_weights(data, size);
  return 0;
}

}  // namespace strata::fuzz
