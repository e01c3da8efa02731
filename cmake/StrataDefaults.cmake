# Language level, warnings, compiler cache, linker: what every target of this tree shares.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

if(NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(STRATA_CCACHE ccache)
  mark_as_advanced(STRATA_CCACHE)
  if(STRATA_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${STRATA_CCACHE}")
  endif()
endif()

# Programs of the installed package find LibTorch where this build found it.
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

include(CheckLinkerFlag)
foreach(linker mold lld)
  check_linker_flag(CXX "-fuse-ld=${linker}" STRATA_HAVE_${linker})
  if(STRATA_HAVE_${linker})
    add_link_options("-fuse-ld=${linker}")
    break()
  endif()
endforeach()

# One flag for libraries and programs alike (not -fPIE for the latter), so that they can share one
# precompiled header.
add_compile_options(-fPIC -fdiagnostics-color=auto)
if(STRATA_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-fpch-preprocess)  # lets ccache see through a precompiled header
endif()
if(STRATA_SANITIZE)
  # g++ 12 finds std::function "maybe uninitialized" once it is instrumented.
  add_compile_options("-fsanitize=${STRATA_SANITIZE}" -fno-omit-frame-pointer -Wno-maybe-uninitialized)
  add_link_options("-fsanitize=${STRATA_SANITIZE}")
endif()

add_library(strata_warnings INTERFACE)
target_compile_options(strata_warnings INTERFACE -Wall -Wextra -Wshadow
                       $<$<BOOL:${STRATA_WERROR}>:-Werror>)

# strata_add_library(<target>): one shared library of the framework, filled by the folders.
function(strata_add_library target)
  add_library(${target} SHARED)
  string(REGEX REPLACE "^strata_" "" short "${target}")
  add_library(strata::${short} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    EXPORT_NAME ${short}
    DEFINE_SYMBOL ""
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/strata>")
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:strata_warnings>)
  if(NOT STRATA_SANITIZE)
    target_link_options(${target} PRIVATE "LINKER:--no-undefined")
  endif()
  strata_use_unity(${target})
endfunction()

function(strata_use_unity target)
  set_target_properties(${target} PROPERTIES
    UNITY_BUILD ${STRATA_UNITY} UNITY_BUILD_MODE GROUP)
  if(STRATA_UNITY)
    # A pimpl of types from an anonymous namespace is fine: its file is just not the main one here.
    target_compile_options(${target} PRIVATE -Wno-subobject-linkage)
  endif()
endfunction()

# strata_use_pch(<target>): the one precompiled header of everything that sees LibTorch.
function(strata_use_pch target)
  if(STRATA_PCH)
    target_precompile_headers(${target} REUSE_FROM strata_pch)
  endif()
endfunction()
