// libstrata_cuda: linked to LibTorch's CUDA half, so that loading this library brings that in. Kernels
// reach their op through LibTorch's dispatcher (TORCH_LIBRARY_IMPL in this library).
#include <c10/cuda/CUDAFunctions.h>

extern "C" __attribute__((visibility("default"))) int strata_cuda_device_count() {
  return c10::cuda::device_count();
}
