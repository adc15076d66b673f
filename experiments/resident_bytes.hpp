// What this process takes of the machine's memory.
#pragma once

#include <cstdint>

namespace morphvlm::experiments {

/// Resident memory of this process in bytes; 0 where the system does not tell.
std::int64_t resident_bytes();

}  // namespace morphvlm::experiments
