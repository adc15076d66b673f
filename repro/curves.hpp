// Loss curves of several seeds: as numbers, and as a line with a band.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "experiments/mini/small_world_config.hpp"
#include "morphvlm/report/curve.hpp"
#include "morphvlm/report/statistics.hpp"
#include "repro/claims.hpp"

namespace morphvlm::repro {

/// The loss of each step.
inline std::vector<double> losses_of(const experiments::FinetuneRun& run) {
  std::vector<double> out;
  for (const auto& step : run.history) out.push_back(step.loss);
  return out;
}

/// The mean loss of the last third, where the curves are flat. A run without steps is an Error that
/// calls it `whose`.
inline double late_loss(const experiments::FinetuneRun& run, const std::string& whose) {
  const auto all = losses_of(run);
  expect(!all.empty(), whose, " has no steps");
  const auto begin = all.size() - std::max<std::size_t>(1, all.size() / 3);
  double sum = 0;
  for (std::size_t i = begin; i < all.size(); ++i) sum += all[i];
  return sum / static_cast<double>(all.size() - begin);
}

/// 0, step, 2 step, ...
inline std::vector<double> evenly(std::size_t n, double step = 1) {
  std::vector<double> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(step * static_cast<double>(i));
  return out;
}

/// The mean of curves over the same x, with a band from the lowest to the highest; as long as the shortest.
inline Series band_of(const std::vector<std::vector<double>>& curves, const std::vector<double>& x,
                      std::string label) {
  Series out{.label = std::move(label)};
  std::size_t steps = x.size();
  for (const auto& curve : curves) steps = std::min(steps, curve.size());
  for (std::size_t i = 0; i < steps && !curves.empty(); ++i) {
    std::vector<double> values;
    for (const auto& curve : curves) values.push_back(curve[i]);
    const auto [low, high] = std::ranges::minmax(values);
    out.x.push_back(x[i]);
    out.y.push_back(over_seeds(values).mean);
    out.low.push_back(low);
    out.high.push_back(high);
  }
  return out;
}

/// Points at which two curves are not the same number, those that only one has included.
inline std::int64_t points_apart(const std::vector<double>& a, const std::vector<double>& b) {
  std::int64_t apart = std::abs(std::ssize(a) - std::ssize(b));
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) apart += a[i] != b[i];
  return apart;
}

/// A run and the same once more: equal to the last bit. Skipped where none was repeated.
inline Check repeat_check(const experiments::FinetuneRun& run, const experiments::FinetuneRun& repeated) {
  const std::string what = "steps at which a repeated run differs";
  if (repeated.history.empty()) return skipped(what, "no run was repeated");
  return exactly(what, points_apart(losses_of(run), losses_of(repeated)), 0);
}

}  // namespace morphvlm::repro
