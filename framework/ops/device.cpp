#include "framework/ops/device.hpp"

#include <dlfcn.h>

#include <charconv>
#include <filesystem>

#include "framework/base/error.hpp"
#include "framework/base/version.hpp"

namespace strata::ops {
namespace {

struct CudaLibrary {
  int (*device_count)() = nullptr;
  std::string error;  // why it is not there
};

CudaLibrary open_cuda_library() {
  CudaLibrary library;
  if (cuda_version() == "cpu") {
    library.error = "this build has no CUDA; run tools/setup --gpu and build the cuda preset";
    return library;
  }
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&open_cuda_library), &info) == 0) {
    library.error = "cannot tell where libstrata is";
    return library;
  }
  const auto path = std::filesystem::path(info.dli_fname).parent_path() / "libstrata_cuda.so";
  // GLOBAL and before any CUDA query: LibTorch's own hooks register themselves while it loads.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    library.error = dlerror();
    return library;
  }
  library.device_count =
      reinterpret_cast<int (*)()>(dlsym(handle, "strata_cuda_device_count"));
  if (library.device_count == nullptr) library.error = path.string() + ": of another build";
  return library;
}

const CudaLibrary& cuda_library() {
  static const CudaLibrary library = open_cuda_library();
  return library;
}

}  // namespace

int gpu_count() {
  const auto& library = cuda_library();
  return library.device_count != nullptr ? library.device_count() : 0;
}

c10::Device device_from(const std::string& text) {
  if (text == "cpu") return c10::Device(c10::kCPU);
  int index = 0;
  const char* end = text.data() + text.size();
  if (text != "cuda") {
    const auto parsed = text.starts_with("cuda:")
                            ? std::from_chars(text.data() + 5, end, index)
                            : std::from_chars_result{text.data(), std::errc::invalid_argument};
    if (parsed.ec != std::errc() || parsed.ptr != end || index < 0 || index > 127) {
      throw UserError("must be \"cpu\", \"cuda\" or \"cuda:K\", got \"" + text + "\"");
    }
  }
  if (!cuda_library().error.empty()) {
    throw UserError("cannot use \"" + text + "\": " + cuda_library().error);
  }
  const int count = gpu_count();
  if (index >= count) {
    throw UserError("no GPU for \"" + text + "\"; this machine has " +
                    std::to_string(count) + (count == 1 ? " GPU" : " GPUs"));
  }
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

}  // namespace strata::ops
