// Whether kernels for x86 processors can be compiled here. Which of them run is decided when they are called.
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define MORPHVLM_HAS_X86_KERNELS 1
#include <immintrin.h>
#else
#define MORPHVLM_HAS_X86_KERNELS 0
#endif
