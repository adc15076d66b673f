// What the authors' notebook prints of OpenFlamingo on VQAv2.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include "morphvlm/core/format.hpp"
#include "morphvlm/report/statistics.hpp"

namespace morphvlm::repro {

/// The paper's accuracy of OpenFlamingo on VQAv2 without shots.
inline constexpr double kPaperBaseline = 0.455;

/// What the authors' notebook prints.
struct Printed {
  std::int64_t shots, samples;
  double accuracy;
};
inline constexpr Printed kNotebook[] = {
    {0, 4000, 0.4353}, {2, 2000, 0.4326}, {4, 4000, 0.4466}, {8, 4000, 0.4475}};

/// 95 %. A VQA score lies in [0, 1], so its variance is at most that of right and wrong: Wilson's interval is
/// too wide rather than too narrow.
inline Interval interval_of(const Printed& p) {
  return wilson(std::llround(p.accuracy * static_cast<double>(p.samples)), p.samples);
}

/// "43.5 (42.0 to 45.1)", in %.
inline std::string with_interval(double value, const Interval& i) {
  return percent(value) + " (" + percent(i.low) + " to " + percent(i.high) + ")";
}

}  // namespace morphvlm::repro
