// The fuzzers by name. Each returns 0, or -1 for an input that is not worth keeping.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace strata::fuzz {

int image_list(const std::uint8_t* data, std::size_t size);
int jpeg_area(const std::uint8_t* data, std::size_t size);
int label(const std::uint8_t* data, std::size_t size);
int pickle(const std::uint8_t* data, std::size_t size);
int png(const std::uint8_t* data, std::size_t size);
int safetensors(const std::uint8_t* data, std::size_t size);
int shards(const std::uint8_t* data, std::size_t size);
int toml(const std::uint8_t* data, std::size_t size);
int torch_file(const std::uint8_t* data, std::size_t size);

struct Fuzzer {
  const char* name;
  int (*run)(const std::uint8_t* data, std::size_t size);
};
constexpr std::array kFuzzers{Fuzzer{"image_list", image_list},   Fuzzer{"jpeg_area", jpeg_area},
                              Fuzzer{"label", label},             Fuzzer{"pickle", pickle},
                              Fuzzer{"png", png},                 Fuzzer{"safetensors", safetensors},
                              Fuzzer{"shards", shards},           Fuzzer{"toml", toml},
                              Fuzzer{"torch_file", torch_file}};

}  // namespace strata::fuzz
