# LibTorch as the imported target morphvlm::torch. The package file that LibTorch itself brings asks for a
# CUDA compiler even where only its CPU part is used.
include_guard(GLOBAL)

option(MORPHVLM_CUDA "Link LibTorch's CUDA libraries" OFF)

# Where ./morph setup puts wheels; empty in an installed package.
file(GLOB MORPHVLM_SITE_PACKAGES "${CMAKE_CURRENT_LIST_DIR}/../.morph/venv/lib/python3*/site-packages")
cmake_path(NORMAL_PATH MORPHVLM_SITE_PACKAGES)

set(MORPHVLM_TORCH_ROOT "" CACHE PATH "LibTorch: a folder with include/ATen and lib/libtorch_cpu.so")
set(_hints "${MORPHVLM_TORCH_ROOT}" "$ENV{MORPHVLM_TORCH_ROOT}")
if("${MORPHVLM_TORCH_ROOT}$ENV{MORPHVLM_TORCH_ROOT}" STREQUAL "")
  set(_hints ${MORPHVLM_SITE_PACKAGES} ${CMAKE_PREFIX_PATH})
endif()
unset(MORPHVLM_TORCH_LIB CACHE)
find_library(MORPHVLM_TORCH_LIB torch_cpu PATHS ${_hints} PATH_SUFFIXES lib torch/lib NO_DEFAULT_PATH)
mark_as_advanced(MORPHVLM_TORCH_LIB)
if(NOT MORPHVLM_TORCH_LIB)
  list(FILTER _hints EXCLUDE REGEX "^$")
  list(JOIN _hints ", " _hints)
  message(FATAL_ERROR "morphvlm: LibTorch was not found (looked in: ${_hints}). "
    "Run ./morph setup, or give -DMORPHVLM_TORCH_ROOT=FOLDER, where FOLDER/lib/libtorch_cpu.so is.")
endif()
cmake_path(GET MORPHVLM_TORCH_LIB PARENT_PATH _lib)
cmake_path(GET _lib PARENT_PATH _root)
if(NOT EXISTS "${_root}/include/ATen/core/Tensor.h")
  message(FATAL_ERROR "morphvlm: ${_root} has LibTorch's libraries but not its headers (include/ATen)")
endif()

set(_version_file "${_root}/include/torch/headeronly/version.h")
if(EXISTS "${_version_file}")
  file(STRINGS "${_version_file}" _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
  string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2" MORPHVLM_TORCH_VERSION "${_lines}")
endif()
if(NOT MORPHVLM_TORCH_VERSION VERSION_EQUAL 2.11)
  message(WARNING "morphvlm: LibTorch ${MORPHVLM_TORCH_VERSION} in ${_root}; it is tested with 2.11")
endif()

# One imported library, with the folders of its headers as system folders.
function(_morphvlm_torch_library name)
  set(file "${_lib}/lib${name}.so")
  if(NOT EXISTS "${file}")
    message(FATAL_ERROR "morphvlm: ${file} is missing")
  endif()
  add_library(morphvlm::${name} SHARED IMPORTED GLOBAL)
  set_target_properties(morphvlm::${name} PROPERTIES IMPORTED_LOCATION "${file}")
endfunction()

add_library(morphvlm::torch INTERFACE IMPORTED GLOBAL)
set_target_properties(morphvlm::torch PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${_root}/include;${_root}/include/torch/csrc/api/include"
  # One header for each operator, instead of all of them at once.
  INTERFACE_COMPILE_DEFINITIONS AT_PER_OPERATOR_HEADERS)
set(_names torch_cpu c10)
# CUDA's run-time library and the headers that LibTorch's refer to: from the wheels, or a toolkit.
cmake_path(GET _root PARENT_PATH _site)
file(GLOB _cuda "${_site}/nvidia/cu1*")
find_path(MORPHVLM_CUDA_INCLUDE cuda_runtime_api.h HINTS ${_cuda} /usr/local/cuda PATH_SUFFIXES include)
mark_as_advanced(MORPHVLM_CUDA_INCLUDE)
if(MORPHVLM_CUDA)
  list(APPEND _names torch_cuda c10_cuda)
  find_library(MORPHVLM_CUDART NAMES cudart libcudart.so.13 HINTS ${_cuda} /usr/local/cuda PATH_SUFFIXES lib lib64)
  find_path(MORPHVLM_NCCL_INCLUDE nccl.h HINTS "${_site}/nvidia/nccl" /usr/local/cuda PATH_SUFFIXES include)
  mark_as_advanced(MORPHVLM_CUDART MORPHVLM_NCCL_INCLUDE)
  if(NOT MORPHVLM_CUDA_INCLUDE OR NOT MORPHVLM_CUDART)
    message(FATAL_ERROR "morphvlm: MORPHVLM_CUDA needs CUDA's run-time library with cuda_runtime_api.h; run ./morph setup")
  endif()
  set_property(TARGET morphvlm::torch APPEND PROPERTY INTERFACE_COMPILE_DEFINITIONS MORPHVLM_CUDA)
  set_property(TARGET morphvlm::torch APPEND PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${MORPHVLM_CUDA_INCLUDE}")
  target_link_libraries(morphvlm::torch INTERFACE "${MORPHVLM_CUDART}")
  if(MORPHVLM_NCCL_INCLUDE)
    set_property(TARGET morphvlm::torch APPEND PROPERTY INTERFACE_COMPILE_DEFINITIONS USE_C10D_NCCL)
    set_property(TARGET morphvlm::torch APPEND PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${MORPHVLM_NCCL_INCLUDE}")
  else()
    message(STATUS "morphvlm: no nccl.h (./morph setup --cuda): processes exchange CUDA tensors by Gloo")
  endif()
  # Nothing calls into torch_cuda by name, so the linker must be told to keep it; what that needs in turn is the
  # loader's to find.
  target_link_options(morphvlm::torch INTERFACE "LINKER:--no-as-needed,--allow-shlib-undefined")
endif()
foreach(_name IN LISTS _names)
  _morphvlm_torch_library(${_name})
  target_link_libraries(morphvlm::torch INTERFACE morphvlm::${_name})
endforeach()
set(MORPHVLM_TORCH_FOUND "${_root}")
message(STATUS "morphvlm: LibTorch ${MORPHVLM_TORCH_VERSION} in ${_root}, CUDA ${MORPHVLM_CUDA}")
