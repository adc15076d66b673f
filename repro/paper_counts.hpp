// Counts that the paper's sizes fix, and the names of the two placements that its Figure 3 compares.
#pragma once

#include <cstdint>
#include <string>

#include "morphvlm/core/format.hpp"

namespace morphvlm::repro {

inline constexpr std::int64_t kOpenLlama3b = 3'426'473'600, kMpt1b = 1'311'442'944;  ///< parameters

/// Figure 3's placements, as `experiments::placements()` calls them.
inline constexpr const char *kAll = "Attn + CrossMlp", *kAttention = "Attn";

/// Their trained parameters around OpenLLaMA-3B: rank 16, a gated block before every 4th layer.
inline constexpr std::int64_t kCountAll = 14'630'912, kCountAttention = 11'558'912;

/// "9.41": bytes in GiB, without the unit.
inline std::string gib(std::int64_t bytes) { return fixed(static_cast<double>(bytes) / (1 << 30), 2); }

}  // namespace morphvlm::repro
