// Learning-rate schedules. Each is a type; a config holds one of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>
#include <variant>

#include "morphvlm/core/field_notes.hpp"

namespace morphvlm {

/// The peak rate after `warmup` steps of linear rise. HF equivalent: get_constant_schedule_with_warmup.
struct Constant {
  static constexpr std::string_view name = "constant";  ///< in configs
  std::int64_t warmup = 0;                              ///< steps from rate 0 to the peak; 0: none
};

/// Linear rise, `hold` of the remaining steps at the peak, then a line to zero. With hold = 0, HF's
/// get_linear_schedule_with_warmup.
struct LinearDecay {
  static constexpr std::string_view name = "linear";  ///< in configs
  std::int64_t warmup = 0;                            ///< steps from rate 0 to the peak; 0: none
  double hold = 0;                                    ///< fraction in [0, 1)
};

/// Linear rise, then half a cosine to zero. HF equivalent: get_cosine_schedule_with_warmup.
struct Cosine {
  static constexpr std::string_view name = "cosine";  ///< in configs
  std::int64_t warmup = 0;                            ///< steps from rate 0 to the peak; 0: none
};

/// Linear rise, then a geometric fall that would reach `final` times the peak one step after the last.
struct Exponential {
  static constexpr std::string_view name = "exponential";  ///< in configs
  std::int64_t warmup = 0;                                 ///< steps from rate 0 to the peak; 0: none
  double final = 0.01;                                     ///< above 0, at most 1
};

/// Its help and range.
template <>
inline constexpr auto field_notes<Constant> =
    std::to_array<FieldNote>({{"warmup", "steps from rate 0 to the peak", at_least(0)}});

/// Their help and ranges.
template <>
inline constexpr auto field_notes<LinearDecay> =
    std::to_array<FieldNote>({{"warmup", "steps from rate 0 to the peak", at_least(0)},
                              {"hold", "share of the other steps at the peak", from_below(0, 1)}});

/// Its help and range.
template <>
inline constexpr auto field_notes<Cosine> =
    std::to_array<FieldNote>({{"warmup", "steps from rate 0 to the peak", at_least(0)}});

/// Their help and ranges.
template <>
inline constexpr auto field_notes<Exponential> =
    std::to_array<FieldNote>({{"warmup", "steps from rate 0 to the peak", at_least(0)},
                              {"final", "the last rate as a share of the peak", above(0, 1)}});

/// Any of them.
using Schedule = std::variant<Constant, LinearDecay, Cosine, Exponential>;

namespace detail {
inline double after_warmup(const Constant&, double) { return 1; }
inline double after_warmup(const LinearDecay& s, double progress) {
  return progress <= s.hold ? 1.0 : (1 - progress) / (1 - s.hold);
}
inline double after_warmup(const Cosine&, double progress) {
  return 0.5 * (1 + std::cos(std::numbers::pi * progress));
}
inline double after_warmup(const Exponential& s, double progress) { return std::pow(s.final, progress); }
}  // namespace detail

/// The factor on the peak rate at optimizer step `step` (from 0) of `steps`.
inline double rate_factor(const Schedule& schedule, std::int64_t step, std::int64_t steps) {
  return std::visit(
      [&](const auto& s) {
        if (step < s.warmup)
          return static_cast<double>(step) / static_cast<double>(std::max<std::int64_t>(1, s.warmup));
        const auto span = static_cast<double>(std::max<std::int64_t>(1, steps - s.warmup));
        const double progress = std::min(1.0, static_cast<double>(step - s.warmup) / span);
        return std::max(0.0, detail::after_warmup(s, progress));
      },
      schedule);
}

}  // namespace morphvlm
