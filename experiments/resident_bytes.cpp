#include "experiments/resident_bytes.hpp"

#include <unistd.h>

#include <fstream>

namespace morphvlm::experiments {

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return in ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace morphvlm::experiments
