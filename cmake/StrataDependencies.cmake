# Third-party libraries: where they are, and who sees them.
find_package(LibTorch REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)
find_package(Deflate REQUIRED)
find_package(Utf8proc REQUIRED)
find_package(CURL 7.85 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(OpenCVImages 4 REQUIRED)

add_library(strata_toml INTERFACE)
find_library(STRATA_TOMLPLUSPLUS_LIBRARY tomlplusplus REQUIRED)
mark_as_advanced(STRATA_TOMLPLUSPLUS_LIBRARY)
target_link_libraries(strata_toml INTERFACE "${STRATA_TOMLPLUSPLUS_LIBRARY}")
target_compile_definitions(strata_toml INTERFACE TOML_HEADER_ONLY=0)

# The only file that includes boost/dll is the plugin loader; header only with std::filesystem.
add_library(strata_boost_dll INTERFACE)
target_link_libraries(strata_boost_dll INTERFACE Boost::headers ${CMAKE_DL_LIBS})
target_compile_definitions(strata_boost_dll INTERFACE BOOST_DLL_USE_STD_FS)

function(strata_link_dependencies)
  target_link_libraries(strata_core
    PUBLIC Threads::Threads fmt::fmt
    PRIVATE spdlog::spdlog nlohmann_json::nlohmann_json
            $<BUILD_INTERFACE:strata_toml> $<BUILD_INTERFACE:strata_boost_dll>)
  target_compile_options(strata_core PRIVATE -Wconversion -Wno-sign-conversion)

  target_link_libraries(strata
    PUBLIC strata_core LibTorch::torch_cpu LibTorch::c10
    PRIVATE nlohmann_json::nlohmann_json opencv_core opencv_imgproc opencv_imgcodecs
            PNG::PNG JPEG::JPEG Deflate::Deflate Utf8proc::Utf8proc
            CURL::libcurl OpenSSL::Crypto ${CMAKE_DL_LIBS})

  # The compiler's OpenMP pragmas and LibTorch's own loops must run on one pool: both ask for
  # libgomp.so.1, and the library that LibTorch ships is found first through the rpath. PUBLIC,
  # because without it at::parallel_for in a plugin or a test would quietly run on one thread.
  target_compile_options(strata PUBLIC -fopenmp)
  target_link_options(strata PUBLIC -fopenmp)

  if(STRATA_PCH)
    file(CONFIGURE OUTPUT strata_pch.cpp CONTENT "// owns the precompiled header\n")
    add_library(strata_pch OBJECT "${CMAKE_CURRENT_BINARY_DIR}/strata_pch.cpp")
    target_link_libraries(strata_pch PRIVATE LibTorch::torch_cpu LibTorch::c10 strata_warnings)
    target_compile_options(strata_pch PRIVATE -fopenmp)
    target_precompile_headers(strata_pch PRIVATE
      <torch/torch.h> <algorithm> <filesystem> <functional> <map> <memory> <optional> <span>
      <string> <tuple> <utility> <variant> <vector>)
    strata_use_pch(strata)
  endif()
endfunction()
