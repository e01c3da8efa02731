// What the compiler knows about a build, as text: written into each plugin and compared by the loader
// with the program's own. Macros, because a plugin must state the facts of *its* compilation.
// The other facts come from CMake: strata::version(), libtorch_version(), build_type(),
// cuda_version() in the program, cmake/plugin_entry.cpp.in in a plugin.
#pragma once

#include <string>  // defines _GLIBCXX_USE_CXX11_ABI

#define STRATA_TEXT_OF_(value) #value
#define STRATA_TEXT_OF(value) STRATA_TEXT_OF_(value)

#if defined(__clang__)
#define STRATA_BUILD_COMPILER "clang " STRATA_TEXT_OF(__clang_major__)
#else
#define STRATA_BUILD_COMPILER "gcc " STRATA_TEXT_OF(__GNUC__)
#endif

/// "202002L" for C++20.
#define STRATA_BUILD_CXX_STANDARD STRATA_TEXT_OF(__cplusplus)

/// "1": std::string and std::list of the C++11 kind; "0": the old ones.
#define STRATA_BUILD_CXX11_ABI STRATA_TEXT_OF(_GLIBCXX_USE_CXX11_ABI)
