// What the fuzzers share. Each is one .cpp that ends in a function of its name, listed in
// fuzzers.hpp; main.cpp gives the chosen one to libFuzzer, seeds_test.cpp gives each its seeds.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "framework/base/error.hpp"
#include "tests/fuzz/fuzzers.hpp"

namespace strata::fuzz {

/// The path of a file in memory that holds these bytes until the next call.
inline const std::string& as_file(const void* bytes, std::size_t size) {
  static const int file = ::memfd_create("input", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0) std::abort();
  if (::pwrite(file, bytes, size, 0) != static_cast<ssize_t>(size)) std::abort();
  return path;
}

/// Stops the fuzzer unless `holds`.
inline void require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: %s\n", what.c_str());
  std::abort();
}

/// Runs `body`, which may end with a user's error that names `where`; anything else that it throws
/// stops the fuzzer.
template <class Body>
void run(const std::string& where, const Body& body) {
  try {
    body();
  } catch (const UserError& error) {
    require(std::string(error.what()).starts_with(where + ":"),
            std::string("an error without its place: ") + error.what());
  }
}

}  // namespace strata::fuzz
