// What happens to freed memory between steps.
#pragma once

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace morphvlm {

/// Makes the C library keep what is freed instead of returning it to the system: a training step frees and
/// allocates the same large blocks each time, and glibc maps every block of 32 MiB and more afresh, page by
/// page. To be called once, early, by a program that trains or decodes; the process then holds its peak until
/// it ends. No effect without glibc.
inline void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
#endif
}

}  // namespace morphvlm
