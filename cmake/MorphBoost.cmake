# Boost's headers as the imported target morphvlm::boost. Boost.PFR gives field names since 1.84.
include_guard(GLOBAL)

set(MORPHVLM_BOOST_ROOT "" CACHE PATH "Boost: a folder with include/boost/pfr.hpp")
set(_hints "${MORPHVLM_BOOST_ROOT}" "$ENV{MORPHVLM_BOOST_ROOT}" ${MORPHVLM_SITE_PACKAGES})
unset(MORPHVLM_BOOST_INCLUDE CACHE)
find_path(MORPHVLM_BOOST_INCLUDE boost/pfr/core_name.hpp HINTS ${_hints} PATH_SUFFIXES include cmeel.prefix/include)
mark_as_advanced(MORPHVLM_BOOST_INCLUDE)
if(NOT MORPHVLM_BOOST_INCLUDE)
  message(FATAL_ERROR "morphvlm: Boost 1.84 or later was not found. "
    "Run ./morph setup, or give -DMORPHVLM_BOOST_ROOT=FOLDER, where FOLDER/include/boost/pfr.hpp is.")
endif()
add_library(morphvlm::boost INTERFACE IMPORTED GLOBAL)
target_include_directories(morphvlm::boost INTERFACE "${MORPHVLM_BOOST_INCLUDE}")
cmake_path(GET MORPHVLM_BOOST_INCLUDE PARENT_PATH MORPHVLM_BOOST_FOUND)
