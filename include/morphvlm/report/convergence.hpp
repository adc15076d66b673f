// When has a training run converged? By a definition that is written down.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "morphvlm/core/error.hpp"
#include "morphvlm/report/curve.hpp"

namespace morphvlm {

/// A run has converged at the first point from which its smoothed loss stays within `tolerance` of its final
/// smoothed loss. Smoothed: the mean over `window` points around each, fewer at the ends; final: the mean of
/// the last `window` points.
struct ConvergenceConfig {
  std::int64_t window = 9;  ///< points; odd
  double tolerance = 0.05;  ///< of the final loss
};

/// Where and at what loss a run ends up.
struct Convergence {
  std::int64_t index = 0;  ///< of the point from which the run has converged
  double final_loss = 0;   ///< smoothed
};

/// Judges a loss curve, one value a point. A run that is still changing at its end converges at its last
/// point. Errors: no point, a value that is not finite, an even window.
inline Convergence convergence(std::span<const double> losses, const ConvergenceConfig& c = {}) {
  expect(!losses.empty(), "convergence: expected losses, found none");
  expect(c.window > 0 && c.window % 2 == 1, "convergence: expected an odd window, found ", c.window);
  expect(c.tolerance > 0, "convergence: expected a tolerance above 0, found ", c.tolerance);
  for (const double loss : losses)
    expect(std::isfinite(loss), "convergence: expected finite losses, found ", loss);
  const auto last = losses.last(std::min(losses.size(), static_cast<std::size_t>(c.window)));
  Convergence out;
  for (const double loss : last) out.final_loss += loss / static_cast<double>(last.size());
  const auto smooth = moving_average(losses, c.window);
  const double room = c.tolerance * std::abs(out.final_loss);
  out.index = std::ssize(losses) - 1;
  while (out.index > 0 && std::abs(smooth[static_cast<std::size_t>(out.index - 1)] - out.final_loss) <= room)
    --out.index;
  return out;
}

/// The first point whose smoothed loss is at most `level`; -1 if there is none.
inline std::int64_t first_below(std::span<const double> losses, double level,
                                const ConvergenceConfig& c = {}) {
  const auto smooth = moving_average(losses, c.window);
  const auto it = std::ranges::find_if(smooth, [&](double loss) { return loss <= level; });
  return it == smooth.end() ? -1 : it - smooth.begin();
}

}  // namespace morphvlm
