# Finds LibTorch as unpacked from the Python wheel, without find_package(Torch): that one stops when
# there is no CUDA toolkit, and links libraries that a CPU run does not need.
#
# Searched in this order: LIBTORCH_ROOT (variable), STRATA_LIBTORCH (environment), what
# tools/setup --libtorch noted in .cache/libtorch, the cache folder that tools/setup fills, the torch
# package of an installed Python when it is the pinned version. Each is the folder that holds include/
# and lib/ (or its parent, when that has a torch/).
#
# Gives LibTorch_VERSION, LIBTORCH_ROOT, and the targets LibTorch::c10, LibTorch::torch_cpu,
# LibTorch::c10_cuda, LibTorch::torch_cuda (the latter two where the wheel is a CUDA build).
# The version that the headers of `root` state, empty when it is no LibTorch.
function(_libtorch_version root out)
  set(version "")
  foreach(header torch/headeronly/version.h torch/csrc/api/include/torch/version.h)
    if(NOT version AND EXISTS "${root}/lib/libtorch_cpu.so" AND EXISTS "${root}/include/${header}")
      file(READ "${root}/include/${header}" text)
      set(parts "")
      foreach(part MAJOR MINOR PATCH)
        if(text MATCHES "#define TORCH_VERSION_${part} ([0-9]+)")
          list(APPEND parts "${CMAKE_MATCH_1}")
        endif()
      endforeach()
      list(JOIN parts "." version)
    endif()
  endforeach()
  set(${out} "${version}" PARENT_SCOPE)
endfunction()

file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/libtorch.lock" _line REGEX "^version ")
string(REGEX REPLACE "^version +" "" _pinned "${_line}")

set(_candidates "")
if(LIBTORCH_ROOT)
  list(APPEND _candidates "${LIBTORCH_ROOT}")
elseif(DEFINED ENV{STRATA_LIBTORCH})
  list(APPEND _candidates "$ENV{STRATA_LIBTORCH}")
else()
  if(EXISTS "${CMAKE_CURRENT_LIST_DIR}/../.cache/libtorch")
    file(STRINGS "${CMAKE_CURRENT_LIST_DIR}/../.cache/libtorch" _noted LIMIT_COUNT 1)
    list(APPEND _candidates "${_noted}")
  endif()
  if(DEFINED ENV{XDG_CACHE_HOME})
    list(APPEND _candidates "$ENV{XDG_CACHE_HOME}/strata/libtorch-${_pinned}")
  else()
    list(APPEND _candidates "$ENV{HOME}/.cache/strata/libtorch-${_pinned}")
  endif()
endif()

set(_root "")
foreach(_candidate IN LISTS _candidates)
  foreach(_try "${_candidate}" "${_candidate}/torch")
    if(NOT _root)
      _libtorch_version("${_try}" _found)
      if(_found)
        get_filename_component(_root "${_try}" REALPATH)
      endif()
    endif()
  endforeach()
endforeach()

if(NOT _root AND NOT LIBTORCH_ROOT AND NOT DEFINED ENV{STRATA_LIBTORCH})
  find_program(_python NAMES python3 python NO_CACHE)
  if(_python)
    execute_process(
      COMMAND "${_python}" -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE _try OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE _failed)
    if(NOT _failed)
      _libtorch_version("${_try}" _found)
      if(_found STREQUAL _pinned)
        set(_root "${_try}")
      endif()
    endif()
  endif()
endif()

if(NOT _root)
  list(JOIN _candidates ", " _tried)
  message(FATAL_ERROR
    "LibTorch: not found (looked in: ${_tried}).\n"
    "Run tools/setup, which fetches version ${_pinned}, or give an unpacked one with "
    "-DLIBTORCH_ROOT=DIR (the folder that holds include/ and lib/).")
endif()

_libtorch_version("${_root}" LibTorch_VERSION)
set(LIBTORCH_ROOT "${_root}" CACHE PATH "LibTorch: the folder that holds include/ and lib/" FORCE)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_ROOT LibTorch_VERSION VERSION_VAR LibTorch_VERSION)

if(NOT TARGET LibTorch::c10)
  # -idirafter: the wheel carries its own fmt and google headers, which would hide the system's.
  add_library(LibTorch::headers INTERFACE IMPORTED)
  target_compile_options(LibTorch::headers INTERFACE
    "SHELL:-idirafter \"${_root}/include\""
    "SHELL:-idirafter \"${_root}/include/torch/csrc/api/include\"")
  target_compile_definitions(LibTorch::headers INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  # A CPU run links torch_cpu and c10 only; what those leave open is resolved when (if) CUDA loads.
  target_link_options(LibTorch::headers INTERFACE "LINKER:--allow-shlib-undefined")

  foreach(_name c10 torch_cpu c10_cuda torch_cuda)
    if(EXISTS "${_root}/lib/lib${_name}.so")
      add_library(LibTorch::${_name} SHARED IMPORTED)
      set_target_properties(LibTorch::${_name} PROPERTIES
        IMPORTED_LOCATION "${_root}/lib/lib${_name}.so"
        IMPORTED_SONAME "lib${_name}.so"
        INTERFACE_LINK_LIBRARIES LibTorch::headers)
    endif()
  endforeach()
endif()
