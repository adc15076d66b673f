# What only this project's own programs get: warnings, quick tools, and the folder of the data packages.
include_guard(GLOBAL)

option(MORPHVLM_WERROR "Treat warnings in this project's own code as errors" ON)
set(MORPHVLM_DATA_ROOT "${MORPHVLM_SITE_PACKAGES}" CACHE PATH "Where the data packages are installed")

add_library(morphvlm_own INTERFACE)
target_link_libraries(morphvlm_own INTERFACE morphvlm::morphvlm)
target_compile_options(morphvlm_own INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
                       $<$<BOOL:${MORPHVLM_WERROR}>:-Werror>)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  # GCC 12 and 13 report correct std::string concatenations, depending even on the length of a literal (GCC PR 105329,
  # 105651): these three stay warnings, so that the folder the project is cloned into cannot break its build.
  target_compile_options(morphvlm_own INTERFACE -Wno-error=array-bounds -Wno-error=restrict -Wno-error=stringop-overflow)
  # What a sanitizer instruments in std::regex looks uninitialised to them (GCC PR 105562).
  if(CMAKE_CXX_FLAGS_DEBUG MATCHES "-fsanitize")
    target_compile_options(morphvlm_own INTERFACE -Wno-maybe-uninitialized)
  endif()
endif()
target_compile_definitions(morphvlm_own INTERFACE "MORPHVLM_DATA_ROOT=\"${MORPHVLM_DATA_ROOT}\"")

find_program(MORPHVLM_CCACHE ccache)
find_program(MORPHVLM_MOLD mold)
mark_as_advanced(MORPHVLM_CCACHE MORPHVLM_MOLD)
if(MORPHVLM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Without these allowances ccache does not touch units that use a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${MORPHVLM_CCACHE}")
  target_compile_options(morphvlm_own INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>
                         $<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>)
endif()
if(MORPHVLM_MOLD)
  target_link_options(morphvlm_own INTERFACE -fuse-ld=mold)
endif()
