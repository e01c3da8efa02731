# Source lists. Explicit, never globbed: the list of component files is the list of components.

# strata_sources(<target> file.cpp...): plain sources, relative to the calling folder. Unity units are
# those of a folder: a new file moves no source of another folder into another unit.
function(strata_sources target)
  file(RELATIVE_PATH folder "${PROJECT_SOURCE_DIR}" "${CMAKE_CURRENT_SOURCE_DIR}")
  string(MAKE_C_IDENTIFIER "${target}_${folder}" folder)
  foreach(source IN LISTS ARGN)
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
    target_sources(${target} PRIVATE "${source}")
    if(STRATA_UNITY AND source MATCHES "\\.cpp$")
      get_property(before GLOBAL PROPERTY STRATA_SOURCES_${folder})
      list(LENGTH before count)
      math(EXPR unit "${count} / ${STRATA_UNITY_BATCH}")
      set_property(GLOBAL APPEND PROPERTY STRATA_SOURCES_${folder} "${source}")
      set_source_files_properties("${source}" TARGET_DIRECTORY ${target}
        PROPERTIES UNITY_GROUP "${folder}_${unit}")
    endif()
  endforeach()
endfunction()

# strata_component_id(<out> <path>): backbones/resnet.cpp -> backbones_resnet, the name that the file
# gives to STRATA_COMPONENTS(...).
function(strata_component_id out path)
  string(REGEX REPLACE "\\.cpp$" "" id "${path}")
  string(REGEX REPLACE "[^A-Za-z0-9_]" "_" id "${id}")
  set(${out} "${id}" PARENT_SCOPE)
endfunction()

# strata_add_components(<target> file.cpp...): sources that end with STRATA_COMPONENTS(<id>) {...}.
# The id is the path from the top folder: of the project, or of the plugin.
function(strata_add_components target)
  strata_sources(${target} ${ARGN})
  get_target_property(root ${target} STRATA_COMPONENT_ROOT)
  if(NOT root)
    set(root "${strata_SOURCE_DIR}")
  endif()
  foreach(source IN LISTS ARGN)
    file(RELATIVE_PATH path "${root}" "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
    strata_component_id(id "${path}")
    set_property(TARGET ${target} APPEND PROPERTY STRATA_COMPONENT_IDS "${id}")
  endforeach()
endfunction()

# strata_registration_code(<target> <declarations> <calls>): the explicit registration list. No static
# initialisers: nothing for the linker to drop, a fixed order, no exception before main.
function(strata_registration_code target declarations calls)
  get_target_property(ids ${target} STRATA_COMPONENT_IDS)
  set(declared "")
  set(called "")
  if(ids)
    foreach(id IN LISTS ids)
      string(APPEND declared "void register_${id}(Registry& registry);\n")
      string(APPEND called "  register_${id}(registry);\n")
    endforeach()
  endif()
  set(${declarations} "${declared}" PARENT_SCOPE)
  set(${calls} "${called}" PARENT_SCOPE)
endfunction()

# strata_write_builtin_components(<target>): call it once, after every folder.
function(strata_write_builtin_components target)
  strata_registration_code(${target} STRATA_DECLARATIONS STRATA_CALLS)
  set(file "${CMAKE_CURRENT_BINARY_DIR}/builtin_components.cpp")
  configure_file("${strata_SOURCE_DIR}/cmake/builtin_components.cpp.in" "${file}" @ONLY)
  target_sources(${target} PRIVATE "${file}")
endfunction()

# strata_build_type(<out>): release, debug or asan, as plugins and program compare it. No build type at
# all counts as release: the interfaces do not change with the optimisation level.
function(strata_build_type out)
  string(TOLOWER "${CMAKE_BUILD_TYPE}" type)
  if(STRATA_SANITIZE MATCHES "address")
    set(type asan)
  elseif(NOT type STREQUAL "debug")
    set(type release)
  endif()
  set(${out} "${type}" PARENT_SCOPE)
endfunction()

# strata_add_plugin(NAME name [VERSION v] [LICENCE l] [CORE] SOURCES file.cpp... [PLAIN file.cpp...])
# Builds name.so from component files (SOURCES: each ends with STRATA_COMPONENTS(<id>), the id being
# its path inside the calling folder) and other files (PLAIN). CORE: sees libstrata_core only, needs
# no LibTorch. Works inside this tree and, after find_package(strata), outside of it.
function(strata_add_plugin)
  cmake_parse_arguments(arg "CORE" "NAME;VERSION;LICENCE" "SOURCES;PLAIN" ${ARGN})
  if(NOT arg_NAME OR NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR
      "strata_add_plugin: expected NAME name [VERSION v] [LICENCE l] [CORE] SOURCES file.cpp... "
      "[PLAIN file.cpp...], got: ${ARGN}")
  endif()
  if(NOT arg_VERSION)
    set(arg_VERSION "0.0.0")
  endif()
  if(NOT arg_LICENCE)
    set(arg_LICENCE "unknown")
  endif()

  add_library(${arg_NAME} MODULE)
  set_target_properties(${arg_NAME} PROPERTIES
    PREFIX "" SUFFIX ".so" DEFINE_SYMBOL ""
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    STRATA_COMPONENT_ROOT "${CMAKE_CURRENT_SOURCE_DIR}")
  target_compile_features(${arg_NAME} PRIVATE cxx_std_20)
  strata_add_components(${arg_NAME} ${arg_SOURCES})
  strata_sources(${arg_NAME} ${arg_PLAIN})

  set(STRATA_PLUGIN_NAME "${arg_NAME}")
  set(STRATA_PLUGIN_STRATA "${strata_VERSION}")
  set(STRATA_PLUGIN_CUDA "${STRATA_CUDA_VERSION}")
  strata_build_type(STRATA_PLUGIN_BUILD_TYPE)
  if(arg_CORE)
    target_link_libraries(${arg_NAME} PRIVATE strata::core)
    set(STRATA_PLUGIN_INCLUDE "")
    set(STRATA_PLUGIN_LIBTORCH "\"none\"")
  else()
    target_link_libraries(${arg_NAME} PRIVATE strata::strata)
    set(STRATA_PLUGIN_INCLUDE "#include <torch/version.h>\n")
    set(STRATA_PLUGIN_LIBTORCH
      "STRATA_TEXT_OF(TORCH_VERSION_MAJOR) \".\" STRATA_TEXT_OF(TORCH_VERSION_MINOR) \".\" STRATA_TEXT_OF(TORCH_VERSION_PATCH)")
  endif()
  strata_registration_code(${arg_NAME} STRATA_DECLARATIONS STRATA_CALLS)
  set(entry "${CMAKE_CURRENT_BINARY_DIR}/${arg_NAME}_entry.cpp")
  configure_file("${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin_entry.cpp.in" "${entry}" @ONLY)
  target_sources(${arg_NAME} PRIVATE "${entry}")

  if(TARGET strata_warnings)  # inside this tree: build/plugins/name.so, with our flags
    set_target_properties(${arg_NAME} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY "${strata_BINARY_DIR}/plugins")
    target_link_libraries(${arg_NAME} PRIVATE strata_warnings)
    if(NOT arg_CORE)
      strata_use_pch(${arg_NAME})
    endif()
  endif()
endfunction()
