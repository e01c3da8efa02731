# The installed package: libraries, headers under include/strata with the spelling they have here
# ("heads/head.hpp"), the `strata` program, and what find_package(strata) needs.
include(CMakePackageConfigHelpers)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/strata")

install(TARGETS strata_core strata EXPORT strataTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(EXPORT strataTargets NAMESPACE strata:: DESTINATION "${package_dir}")
install(DIRECTORY framework registry losses modules backbones necks heads segmentors
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/strata"
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.h")
install(TARGETS strata_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")

configure_package_config_file(cmake/strataConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/strataConfig.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/strataConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/strataConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/strataConfigVersion.cmake"
  cmake/FindLibTorch.cmake cmake/libtorch.lock
  cmake/StrataComponents.cmake cmake/plugin_entry.cpp.in
  DESTINATION "${package_dir}")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/strata")
