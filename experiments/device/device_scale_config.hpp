// The device scale of the experiments: the paper's models in their full size with random weights, on a card,
// for what they cost in memory and time. Nothing is learned, so no files are needed. Plain data, for those
// who do not train themselves.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/core/enum_names.hpp"

namespace morphvlm::experiments {

/// How large the models are: as the paper's, or as a small world's, which shows on any machine that all runs.
enum class Sizes { paper, small };

/// Where, and how much of it.
struct DeviceScale {
  std::string device = "cuda";  ///< or cuda:N; cpu for small sizes
  Sizes sizes = Sizes::paper;
  std::int64_t steps = 6;  ///< in each setting; the first is not timed
  std::int64_t rows = 4;   ///< of a step
  std::int64_t every = 4;  ///< language-model layers to a gated block
  LoRAConfig adapter = {.rank = 16, .alpha = 16};
};

}  // namespace morphvlm::experiments

namespace morphvlm {
template <>
inline constexpr std::array<std::pair<experiments::Sizes, std::string_view>, 2>
    enum_names<experiments::Sizes>{
        {{experiments::Sizes::paper, "paper"}, {experiments::Sizes::small, "small"}}};
}  // namespace morphvlm
