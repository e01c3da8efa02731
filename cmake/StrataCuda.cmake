# libstrata_cuda: kernels and what needs LibTorch's CUDA half. Built when asked for (preset cuda) and a
# toolkit is there; the program loads it only when a run asks for a GPU.
set(STRATA_CUDA_VERSION "cpu")
if(STRATA_CUDA)
  find_package(CUDAToolkit)
  if(NOT CUDAToolkit_FOUND)
    message(WARNING "libstrata_cuda: left out, no CUDA toolkit found (CUDAToolkit_ROOT names one)")
  elseif(NOT TARGET LibTorch::torch_cuda)
    message(WARNING "libstrata_cuda: left out, ${LIBTORCH_ROOT} has no CUDA half (tools/setup --gpu)")
  else()
    set(STRATA_CUDA_VERSION "${CUDAToolkit_VERSION_MAJOR}.${CUDAToolkit_VERSION_MINOR}")
    strata_add_library(strata_cuda)
    # Nothing here calls into torch_cuda, which is no reason to leave it out: loading it is the point.
    target_link_options(strata_cuda PRIVATE "LINKER:--no-as-needed")
    target_link_libraries(strata_cuda
      PRIVATE LibTorch::torch_cuda LibTorch::c10_cuda LibTorch::torch_cpu LibTorch::c10 CUDA::cudart)
    install(TARGETS strata_cuda LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  endif()
endif()
