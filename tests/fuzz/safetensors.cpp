// Headers of safetensors files. Their length stands in front of the input: it is right unless the
// input says otherwise, so that most inputs get as far as the JSON.
#include <cstring>

#include "tests/fuzz/weights.hpp"

namespace strata::fuzz {

int safetensors(const std::uint8_t* data, std::size_t size) {
  if (size < 9) return -1;
  std::string file(reinterpret_cast<const char*>(data), size);
  // A header that ends elsewhere than its braces do is refused early.
  if (const std::size_t end = file.rfind('}'); end != std::string::npos && size % 4 != 0) {
    const std::uint64_t header = end + 1 - 8;
    if (end >= 8) std::memcpy(file.data(), &header, 8);
  }
  read_weights(file.data(), file.size());
  return 0;
}

}  // namespace strata::fuzz
