// What a run ran on.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::engine {

/// Model name of the processor, "unknown processor" if the system does not tell.
STRATA_API std::string processor_name();
/// "16008 MiB".
STRATA_API std::string memory_size();
/// File of the LibTorch that was really loaded: the one that was built against, or another by
/// mistake.
STRATA_API std::string libtorch_file();
/// CUDA version of the build and the GPUs that the driver shows.
STRATA_API std::string cuda_text();

/// Names and values for people: program, LibTorch, processor, threads, memory, GPU, command line,
/// folder, time of this call.
STRATA_API std::vector<std::pair<std::string, std::string>> environment();
/// The same as a JSON object.
STRATA_API std::string environment_json();

}  // namespace strata::engine
