# Everything that the headers need, as MORPHVLM_LIBRARIES. Used by this build and by the installed package.
include(MorphTorch)
include(MorphBoost)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(pugixml 1.10 REQUIRED)

if(NOT TARGET morphvlm::pcre2)
  find_path(MORPHVLM_PCRE2_INCLUDE pcre2.h)
  find_library(MORPHVLM_PCRE2_LIBRARY pcre2-8)
  mark_as_advanced(MORPHVLM_PCRE2_INCLUDE MORPHVLM_PCRE2_LIBRARY)
  if(NOT MORPHVLM_PCRE2_INCLUDE OR NOT MORPHVLM_PCRE2_LIBRARY)
    message(FATAL_ERROR "morphvlm: PCRE2 (8 bit) was not found; run ./morph setup or install libpcre2-dev")
  endif()
  add_library(morphvlm::pcre2 UNKNOWN IMPORTED)
  set_target_properties(morphvlm::pcre2 PROPERTIES
    IMPORTED_LOCATION "${MORPHVLM_PCRE2_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${MORPHVLM_PCRE2_INCLUDE}"
    INTERFACE_COMPILE_DEFINITIONS PCRE2_CODE_UNIT_WIDTH=8)
endif()

set(MORPHVLM_LIBRARIES morphvlm::torch morphvlm::boost morphvlm::pcre2 nlohmann_json::nlohmann_json Eigen3::Eigen
    JPEG::JPEG PNG::PNG ZLIB::ZLIB pugixml::pugixml Threads::Threads)
