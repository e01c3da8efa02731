# Finds the three OpenCV libraries that reading and drawing images takes, as the targets opencv_core,
# opencv_imgproc and opencv_imgcodecs. Not OpenCV's own package file: Debian ships that with all of
# OpenCV, 134 MB and 200 packages more.
find_path(OpenCVImages_INCLUDE_DIR opencv2/core.hpp PATH_SUFFIXES opencv4)
set(_required OpenCVImages_INCLUDE_DIR)
foreach(_name core imgproc imgcodecs)
  find_library(OpenCVImages_${_name} opencv_${_name})
  list(APPEND _required OpenCVImages_${_name})
endforeach()
mark_as_advanced(${_required})

if(OpenCVImages_INCLUDE_DIR)
  file(READ "${OpenCVImages_INCLUDE_DIR}/opencv2/core/version.hpp" _text)
  string(REGEX MATCH "CV_VERSION_MAJOR +([0-9]+)" _match "${_text}")
  set(OpenCVImages_VERSION "${CMAKE_MATCH_1}")
  string(REGEX MATCH "CV_VERSION_MINOR +([0-9]+)" _match "${_text}")
  string(APPEND OpenCVImages_VERSION ".${CMAKE_MATCH_1}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OpenCVImages
  REQUIRED_VARS ${_required} VERSION_VAR OpenCVImages_VERSION)

foreach(_name core imgproc imgcodecs)
  if(OpenCVImages_FOUND AND NOT TARGET opencv_${_name})
    add_library(opencv_${_name} UNKNOWN IMPORTED)
    set_target_properties(opencv_${_name} PROPERTIES
      IMPORTED_LOCATION "${OpenCVImages_${_name}}"
      INTERFACE_INCLUDE_DIRECTORIES "${OpenCVImages_INCLUDE_DIR}")
  endif()
endforeach()
