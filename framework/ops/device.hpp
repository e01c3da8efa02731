// The device that a run asks for. CUDA is loaded only then: starting without it is a second faster
// and works on machines that have none.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "framework/base/export.hpp"

namespace strata::ops {

/// "cpu", "cuda" (the first GPU) or "cuda:K". The first request of a GPU loads libstrata_cuda from
/// beside libstrata. Throws UserError when the text is none of these, when this build has no CUDA, or
/// when the machine has no such GPU.
STRATA_API c10::Device device_from(const std::string& text);

/// GPUs of this machine, 0 without a driver or in a build without CUDA; never throws.
STRATA_API int gpu_count();

}  // namespace strata::ops
