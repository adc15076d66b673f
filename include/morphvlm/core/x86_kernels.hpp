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
