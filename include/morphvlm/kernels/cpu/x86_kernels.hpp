/// @file
/// Whether kernels for x86 processors can be compiled here. Which of them run is decided when they are
/// called.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
/// 1 where code for x86-64 can be compiled function by function (GCC, clang), else 0.
#define MORPHVLM_HAS_X86_KERNELS 1
#include <immintrin.h>
#else
#define MORPHVLM_HAS_X86_KERNELS 0
#endif

namespace morphvlm::detail {

// Whether this processor runs what is compiled for AVX-512's F, BW and VL.
inline bool has_avx512() {
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kHas = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512vl");
  return kHas;
#else
  return false;
#endif
}

}  // namespace morphvlm::detail
