# Everything that the headers need, as imported targets. Used by this build and by the installed package.
include(MorphTorch)
include(MorphBoost)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
# LibTorch's loops in headers, which the kernels here are run by, use several threads only with OpenMP. Both
# then share one pool of threads: whichever library comes first serves all.
find_package(OpenMP COMPONENTS CXX)
if(NOT OpenMP_CXX_FOUND)
  message(STATUS "morphvlm: ${CMAKE_CXX_COMPILER_ID} has no OpenMP here; kernels of this project use one thread")
endif()
find_package(nlohmann_json 3.10 REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(pugixml 1.10 REQUIRED)

# Libraries that bring neither a CMake package nor a module: _morphvlm_library(NAME HEADER LIBRARY PACKAGE).
function(_morphvlm_library name header library package)
  if(TARGET morphvlm::${name})
    return()
  endif()
  string(TOUPPER "MORPHVLM_${name}" prefix)
  find_path(${prefix}_INCLUDE ${header})
  find_library(${prefix}_LIBRARY ${library})
  mark_as_advanced(${prefix}_INCLUDE ${prefix}_LIBRARY)
  if(NOT ${prefix}_INCLUDE OR NOT ${prefix}_LIBRARY)
    message(FATAL_ERROR "morphvlm: ${library} with ${header} was not found; run ./morph setup or install ${package}")
  endif()
  add_library(morphvlm::${name} UNKNOWN IMPORTED)
  set_target_properties(morphvlm::${name} PROPERTIES
    IMPORTED_LOCATION "${${prefix}_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${${prefix}_INCLUDE}")
endfunction()

_morphvlm_library(pcre2 pcre2.h pcre2-8 libpcre2-dev)
set_property(TARGET morphvlm::pcre2 PROPERTY INTERFACE_COMPILE_DEFINITIONS PCRE2_CODE_UNIT_WIDTH=8)
_morphvlm_library(sentencepiece sentencepiece_processor.h sentencepiece libsentencepiece-dev)
_morphvlm_library(utf8proc utf8proc.h utf8proc libutf8proc-dev)

# What LibTorch's headers of c10d need and its packages lack: Gloo's headers, for training in several processes.
find_path(MORPHVLM_GLOO_INCLUDE gloo/context.h)
mark_as_advanced(MORPHVLM_GLOO_INCLUDE)
if(NOT TARGET morphvlm::gloo)
  add_library(morphvlm::gloo INTERFACE IMPORTED GLOBAL)
  if(MORPHVLM_GLOO_INCLUDE)
    set_target_properties(morphvlm::gloo PROPERTIES
      INTERFACE_COMPILE_DEFINITIONS USE_C10D_GLOO
      INTERFACE_INCLUDE_DIRECTORIES "${MORPHVLM_GLOO_INCLUDE}")
  else()
    message(STATUS "morphvlm: no gloo/context.h (libgloo-dev): training uses one process")
  endif()
endif()
