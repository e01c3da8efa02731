# Source lists. Explicit, never globbed: the list of component files is the list of components.

# strata_sources(<target> file.cpp...): plain sources, relative to the calling folder.
function(strata_sources target)
  foreach(source IN LISTS ARGN)
    target_sources(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
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
    set(root "${PROJECT_SOURCE_DIR}")
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
  configure_file("${PROJECT_SOURCE_DIR}/cmake/builtin_components.cpp.in" "${file}" @ONLY)
  target_sources(${target} PRIVATE "${file}")
endfunction()
