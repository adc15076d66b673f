// Several threads, which tests else have not: they run side by side, with one each.
#pragma once

#include <ATen/Parallel.h>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace morphvlm::testing {

/// While it lives, work is shared among so many threads.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { set(count); }
  ~Threads() { set(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  // LibTorch may bring an OpenMP of its own, which does not know what is set in this program's.
  static void set(int count) {
    at::set_num_threads(count);
#ifdef _OPENMP
    omp_set_num_threads(count);
#endif
  }

  int before_;
};

}  // namespace morphvlm::testing
